"""A dump is read line by line as it streams: rows are counted, and what no dump of ours holds is refused."""

from __future__ import annotations

import pytest

from model.errors import Damaged
from tasks.dump_grammar import CODE, DumpReader

HEAD = rb"""/*M!999999\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB

/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
DROP TABLE IF EXISTS `a ``b`;
CREATE TABLE `a ``b` (
  `id` int(11) NOT NULL COMMENT 'it''s; \' DATA DIRECTORY',
  `select` text DEFAULT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
LOCK TABLES `a ``b` WRITE;
/*!40000 ALTER TABLE `a ``b` DISABLE KEYS */;
"""
ROWS = rb"""INSERT INTO `a ``b` VALUES
(1,'x\'),(2,\\'),
(-2,NULL),(3.5e-7,0x00FF),
(4,'a''b;\n');
"""
TAIL = b"UNLOCK TABLES;\n-- Dump completed on 2026-11-25\n" + CODE + b"\nDELIMITER ;;\nanything at all\n;;\n"
END = b"-- Dump completed on 2026-11-25\n"
WHOLE = HEAD + ROWS + TAIL + END


def read(data: bytes, chunk: int = 1 << 16) -> dict[str, int]:
    reader = DumpReader("store:dump")
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.finish()


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_rows_are_counted_however_the_bytes_come(chunk: int) -> None:
    assert {"a `b": 4} == read(WHOLE, chunk)


def test_rows_behind_the_insert_are_counted_too() -> None:
    """Older versions write all on one line."""
    assert {"a `b": 2} == read(HEAD + b"INSERT INTO `a ``b` VALUES (1,'(x)'),(2,'');\n" + TAIL + END)


@pytest.mark.parametrize(
    "line",
    [
        rb"\! touch /root/x", rb"  \! touch /root/x", b"system id", b"source /etc/passwd", b"USE mysql;",
        b"DELIMITER //", b"/*!40101 SET @a=1, GLOBAL general_log=1 */;", b"/*!40101 SET @a=(SELECT 1) */;",
        b"/*!40101 SET @@global.general_log=1 */;",
        b"DROP DATABASE mysql;", b"DROP TABLE IF EXISTS `mysql`.`user`;", b"INSERT INTO `mysql`.`user` VALUES (1);",
        b"INSERT INTO `a ``b` VALUES (1); DROP DATABASE mysql;", b"INSERT INTO `a ``b` VALUES (sleep(9));",
        b"INSERT INTO `a ``b` VALUES (1) ON DUPLICATE KEY UPDATE x=1;", b"INSERT INTO `other` VALUES (1);",
        b"SET GLOBAL general_log=1;", b"/*!40101 SET GLOBAL general_log=1 */;", b"/*!40101 SET PASSWORD = 'x' */;",
        b"/*!40101 SET @a=1 */; DROP DATABASE mysql;", b"/*!50001 CREATE USER x */;",
        b"CREATE TABLE `x` (`id` int) ENGINE=InnoDB; DROP DATABASE mysql;",
        b"LOAD DATA INFILE '/etc/passwd' INTO TABLE x;",
        b"SELECT 1 INTO OUTFILE '/root/x';", b"GRANT ALL ON *.* TO x;", b"LOCK TABLES `mysql`.`user` WRITE;",
        b"DO SETVAL(`s`, (SELECT 1), 0);", b"\xff\xfe\x00",
    ],
)  # fmt: skip
def test_line_that_no_dump_holds_is_refused_and_named(line: bytes) -> None:
    """guarantees.md, dumps; nothing of it reaches a server."""
    with pytest.raises(Damaged, match="line 13 of the dump is refused"):
        read(HEAD + line + b"\n" + ROWS + TAIL + END)


@pytest.mark.parametrize(
    "end",
    [
        b") ENGINE=FEDERATED CONNECTION='mysql://elsewhere/x';", b") ENGINE=CONNECT TABLE_TYPE=DIR;",
        b") ENGINE=InnoDB DATA DIRECTORY='/root';", b") ENGINE=MyISAM INDEX DIRECTORY='/root';",
        b") ENGINE=MRG_MyISAM UNION=(`mysql`.`user`);", b") ENGINE=InnoDB; DROP DATABASE mysql;",
        b") ENGINE=InnoDB SELECT * FROM mysql.user;",
    ],
)  # fmt: skip
def test_table_whose_rows_lie_elsewhere_is_refused(end: bytes) -> None:
    with pytest.raises(Damaged, match="elsewhere"):
        read(HEAD + b"UNLOCK TABLES;\nCREATE TABLE `x` (\n  `id` int\n" + end + b"\n" + TAIL + END)


@pytest.mark.parametrize("cut", range(len(HEAD), len(WHOLE), 23))
def test_dump_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(Damaged):
        read(WHOLE[:cut])


def test_client_command_among_the_code_is_refused() -> None:
    with pytest.raises(Damaged, match="triggers and routines"):
        read(HEAD + ROWS + TAIL + b"\\! id\n" + END)


def test_dump_without_any_table_is_refused() -> None:
    with pytest.raises(Damaged, match="holds no table"):
        read(b"-- Dump completed\n" + CODE + b"\n" + END)
