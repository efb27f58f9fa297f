"""The shop: a web server, a database and a set of files on one host, always with the same content.

It carries one lawful local change on purpose: its `/etc/nginx/nginx.conf` differs from the packaged one, as on every
real host, so a check that calls each changed configuration file damaged is caught.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base import LabError
from tests.lab.facts import FileFacts, facts_below, filler
from tests.lab.host import LabHost

NGINX_CONF = "/etc/nginx/nginx.conf"
WEB_ROOT = "/srv/www"
FILES = "/srv/www/files"
DATABASE = "shop"
ROLE = "reinstate"
# Of a throw-away host, so it may be known; it holds what naive quoting breaks on.
PASSWORD = 'lab\'s "pass" $word'
ROWS = {"customers": 200, "products": 50, "orders": 5000}
PAGE = "<!doctype html>\n<title>Shop</title>\n<h1>The shop is open</h1>\n"
_WWW_DATA = 33
_EPOCH = 1_735_689_600  # 2025-01-01T00:00:00Z
_NGINX = f"""user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
include /etc/nginx/modules-enabled/*.conf;

events {{
    worker_connections 64;
}}

http {{
    include /etc/nginx/mime.types;
    access_log off;

    server {{
        listen 80 default_server;
        server_name shop;
        root {WEB_ROOT};
        index index.html;
    }}
}}
"""
_SCHEMA = """
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, city text NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE products (id integer PRIMARY KEY, sku text NOT NULL UNIQUE, name text NOT NULL,
    price_cents integer NOT NULL CHECK (price_cents > 0));
CREATE TABLE orders (id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers,
    product_id integer NOT NULL REFERENCES products, quantity integer NOT NULL CHECK (quantity > 0),
    total_cents integer NOT NULL, placed_at timestamptz NOT NULL, note text NOT NULL);
INSERT INTO customers SELECT n, 'Customer ' || n, 'customer' || n || '@shop.example',
    (ARRAY['Kraków', 'Zürich', 'Málaga', 'Łódź', 'Oslo'])[1 + n % 5],
    timestamptz '2024-01-01 00:00+00' + n * interval '7 hours' FROM generate_series(1, :customers) AS n;
INSERT INTO products SELECT n, 'SKU-' || lpad(n::text, 4, '0'), 'Product ' || n, 199 + n * 37
    FROM generate_series(1, :products) AS n;
INSERT INTO orders SELECT n, 1 + (n * 17) % :customers, p.id, 1 + n % 4, p.price_cents * (1 + n % 4),
    timestamptz '2024-06-01 00:00+00' + n * interval '11 minutes', 'order ' || md5(n::text)
    FROM generate_series(1, :orders) AS n JOIN products AS p ON p.id = 1 + (n * 13) % :products;
CREATE INDEX orders_by_customer ON orders (customer_id);
"""


@dataclass(frozen=True, slots=True)
class ShopState:
    """Everything about the shop that users would miss; a complete recovery brings an equal state back.

    Attributes:
        page: What the web server answers at `/`.
        files: The file set, by path relative to it.
        tables: Row count and digest of all rows, by table.
    """

    page: str
    files: dict[str, FileFacts]
    tables: dict[str, tuple[int, str]]


class Shop:
    """The shop on one host.

    Attributes:
        host: Where it runs.
        url: Where its page is.
        password: Password of the database role `reinstate`, a superuser.
    """

    def __init__(self, host: LabHost) -> None:
        """Look at a host on which `prepare_shop` has run, or that stands on a layer frozen after it."""
        self.host = host
        self.url = f"http://{host.address}/"
        self.password = PASSWORD

    def fetch(self, path: str = "") -> tuple[int, str]:
        """Ask the web server from outside.

        Returns:
            Status and body; status 0 and the reason when there is no answer at all.
        """
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, ""
        except OSError as failure:
            return 0, str(failure)

    def sql(self, statement: str, database: str = DATABASE) -> str:
        """Run SQL as the database's owner and return the rows, fields parted by `|`.

        Raises:
            LabError: The database refused it or does not answer.
        """
        return psql(self.host, statement, database)

    def state(self) -> ShopState:
        """Observe the whole shop.

        Raises:
            LabError: The database does not answer or a table cannot be read.
        """
        tables = {}
        for table in ROWS:
            digest = f"SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY id)) FROM {table} AS t"
            count, _, value = self.sql(digest).strip().partition("|")
            tables[table] = (int(count), value)
        return ShopState(self.fetch()[1], facts_below(self.host.inside(FILES)), tables)


def prepare_shop(host: LabHost) -> Shop:
    """Set the shop up on a host and start it; its services come back at every boot.

    Raises:
        LabError: A step failed, or the shop does not answer afterwards.
    """
    _write_site(host)
    _write_files(host.inside(FILES), host.inside("/home/ops").stat().st_uid)
    host.must(["systemctl", "enable", "--now", "nginx.service"])
    configuration = cluster(host) / "conf.d/shop.conf"
    host.inside(str(configuration)).write_text(
        "listen_addresses = '127.0.0.1'\nport = 5432\n", encoding="utf-8"
    )
    host.must(["systemctl", "enable", "--now", "postgresql.service"])
    _fill_database(host)
    shop = Shop(host)
    if shop.fetch() != (200, PAGE):
        raise LabError(f"the shop's page does not come up: {shop.fetch()}")
    return shop


def cluster(host: LabHost) -> Path:
    """Return the configuration directory of the host's only database cluster, as the host knows it."""
    (directory,) = host.inside("/etc/postgresql").glob("*/main")
    return Path("/") / directory.relative_to(host.root)


def psql(host: LabHost, statement: str, database: str = DATABASE, /, **variables: str | int) -> str:
    """Run SQL on a host as the database's owner over its local socket; stops at the first error.

    Args:
        host: Where.
        statement: The SQL, in which `:name` and `:'name'` stand for variables.
        database: Which database.
        **variables: Their values.

    Raises:
        LabError: The database refused it or does not answer.
    """
    values = [f"--set={name}={value}" for name, value in variables.items()]
    options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", *values]
    return host.must(
        ["runuser", "-u", "postgres", "--", "psql", *options, f"--dbname={database}"], text=statement
    )


def _fill_database(host: LabHost) -> None:
    psql(host, f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD :'password'", "postgres", password=PASSWORD)
    psql(host, f"CREATE DATABASE {DATABASE} OWNER {ROLE} TEMPLATE template0 ENCODING 'UTF8'", "postgres")
    psql(host, f"SET ROLE {ROLE};{_SCHEMA}", DATABASE, **ROWS)
    # Settle every page, so that no later background write heals or moves what a test damages.
    psql(host, "VACUUM (FREEZE, ANALYZE)")
    psql(host, "CHECKPOINT")


def _write_site(host: LabHost) -> None:
    host.inside(NGINX_CONF).write_text(_NGINX, encoding="utf-8")
    host.inside(FILES).mkdir(parents=True)
    (host.inside(WEB_ROOT) / "index.html").write_text(PAGE, encoding="utf-8")


def _write_files(directory: Path, person: int) -> None:
    sizes = {f"orders-{number:02}.csv": 700 * number for number in range(1, 25)}
    sizes |= {f"invoices/2025/invoice-{number:03}.pdf": 9_000 + number for number in range(1, 9)}
    sizes |= {"invoices/archive.bin": 300_000, "empty.txt": 0, "with space.txt": 40, "Größe – 数量.txt": 41}
    sizes |= {"-dash.txt": 42, 'it\'s $5; "quoted".txt': 43, "bin/report.sh": 44, "private/keys.txt": 45}
    for name, size in sizes.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(filler(name, size))
        path.chmod(0o644)
        os.chown(path, _WWW_DATA, _WWW_DATA)
    (directory / "latest.csv").symlink_to("orders-24.csv")
    (directory / "invoices/current").symlink_to("2025")
    (directory / "bin/report.sh").chmod(0o755)
    os.chown(directory / "bin/report.sh", 0, 0)
    (directory / "private/keys.txt").chmod(0o600)
    os.chown(directory / "private/keys.txt", person, person)
    (directory / "private").chmod(0o750)
    os.chown(directory / "private", person, _WWW_DATA)
    (directory / "invoices").chmod(0o2775)
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)
