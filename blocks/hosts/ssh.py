"""The block of a host reached over SSH; also built from a plan, without any Prefect server."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, ValidationError

from blocks.hosts.connection import SSHConnection
from blocks.hosts.transport import open_transport
from blocks.secrets import Secrets
from model.errors import BadInput
from model.host import Host


class SSHHost(Block):
    """A host, the key to log in with, and the facts that prove which host it is (G7).

    Attributes:
        name: the host's name in the plan and in messages.
        address: host name or IP address.
        port: TCP port of its SSH server.
        user: login.
        private_key: text of an unencrypted private key in OpenSSH or PEM form.
        host_key: the only public host key that is accepted, as `ssh-ed25519 AAAA…`.
        machine_id: 32 hex digits, as in /etc/machine-id.
        machine_id_file: where the host keeps them.
        role: `production` or `staging`.
        sudo: whether the login may run anything as root through `sudo -n`.
        state_dir: the directory on the host that holds jobs, fence and trace.
        key: where the private key came from; never the key.
    """

    _block_type_name: ClassVar[str] = "Reinstate SSH host"
    _block_type_slug: ClassVar[str] = "reinstate-ssh-host"
    _description: ClassVar[str] = (
        "A host that Reinstate may examine and repair: its address, the key to log in with, and the pinned host key, "
        "machine-id and role that prove which host it is."
    )

    name: str = Field(default="host", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    address: str
    port: int = Field(default=22, ge=1, le=65535)
    user: str = "root"
    private_key: SecretStr
    host_key: str
    machine_id: str
    machine_id_file: str = "/etc/machine-id"
    role: Literal["production", "staging"] = "production"
    sudo: bool = False
    state_dir: str = "/var/lib/reinstate"
    key: str = ""

    @classmethod
    def from_plan(cls, name: str, host: Host, secrets: Secrets) -> Self:
        """Build the block of a host of the plan.

        Raises:
            BadInput: the reference of the private key leads to nothing.
            PreconditionFailed: the key's file is readable by everybody, or a Prefect server is needed and not there.
        """
        private_key = SecretStr(secrets.resolve(host.key))
        return cls(name=name, private_key=private_key, **host.model_dump())

    def host(self) -> Host:
        """The host as the plan describes it.

        Raises:
            BadInput: a field of the block is not what a plan would accept.
        """
        fields = {field: getattr(self, field) for field in Host.model_fields}
        fields["key"] = self.key or f"block:{self._block_type_slug}/{self.name}"
        try:
            return Host.model_validate(fields)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise BadInput(
                f"the block is wrong: {wrong}.", self.name, "Correct these fields of the block."
            ) from None

    def connect(self) -> SSHConnection:
        """Connect and log in. Prove the host's identity with `blocks.hosts.identity.prove` before changing anything.

        Raises:
            Transient: the host cannot be reached or does not answer in time.
            BadInput: a field of the block is wrong.
            Refused: the host proved another key than the pinned one.
            PreconditionFailed: the login was refused, or the private key cannot be used.
            Unsupported: the host offers only outdated algorithms.
        """
        host = self.host()
        where = f"{self.name} ({host.address}:{host.port})"
        return SSHConnection(
            self.name, host, open_transport(host, self.private_key.get_secret_value(), where)
        )
