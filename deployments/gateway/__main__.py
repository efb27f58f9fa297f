"""`python -m deployments.gateway`: the gateway by itself; `reinstate gateway` is the same."""

from __future__ import annotations

import argparse

from deployments.gateway.serving import serve_plans

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="gateway", description="Takes alerts of monitoring systems.")
    parser.add_argument("--listen", default="127.0.0.1:4280")
    parser.add_argument("plans", nargs="+")
    given = parser.parse_args()
    serve_plans(given.plans, given.listen)
