"""The peer of our gateway, as an afternoon's work has it: FastAPI, the signature checked, a file and a sync per alert.

It reads, groups and remembers nothing; what it does is the least that "nothing acknowledged is lost" asks for.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import uuid
from pathlib import Path

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from tests.support.storm import KEY


def app(folder: Path) -> FastAPI:
    """Takes what a storm sends."""
    made = FastAPI()

    def keep(body: bytes) -> None:
        with (folder / f"{uuid.uuid4()}.json").open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())

    @made.post("/alerts/{plan}/{source}", status_code=202)
    async def take(plan: str, source: str, request: Request) -> dict[str, int]:
        body = await request.body()
        head = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
        right = base64.b64encode(hmac.digest(KEY, head + body, "sha256")).decode()
        if not hmac.compare_digest(f"v1,{right}", request.headers["webhook-signature"]):
            raise HTTPException(401, f"{plan}/{source}")
        await run_in_threadpool(keep, body)
        return {"taken": 1}

    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen")
    parser.add_argument("plan")
    host, _, port = parser.parse_args().listen.partition(":")
    place = Path(os.environ["REINSTATE_HOME"]) / "alerts"
    place.mkdir(parents=True)
    uvicorn.run(app(place), host=host, port=int(port), log_level="warning", access_log=False)
