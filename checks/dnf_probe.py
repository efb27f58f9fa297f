"""Runs on the host, by `python3 -I -c`: asks dnf's own library about packages of exactly these versions.

`find FOLDER NAME EPOCH VERSION RELEASE ARCH …` prints for each that a repository has: its five words, size, SHA-256 and
file name, parted by tabs. `fetch FOLDER NAME EPOCH VERSION RELEASE ARCH` downloads that one into FOLDER. Nothing of the
host's own state is written: metadata that dnf has not kept is fetched into FOLDER. For Python 3.6 and dnf 4.
"""
# ruff: noqa: PTH118, PTH119 - plain os calls run on old interpreters

import os
import sys

import dnf  # type: ignore[import-not-found]  # the host's own library


def base(folder: str, *, kept: bool) -> "dnf.Base":
    """Dnf with the host's repositories; with the metadata it kept, or with what is fetched now."""
    opened = dnf.Base()
    opened.conf.read()
    opened.conf.plugins = False
    opened.conf.logdir = folder
    opened.conf.destdir = folder
    if not opened.conf.substitutions.get("releasever"):  # a host without a release package; dnf fails on None
        opened.conf.substitutions["releasever"] = ""
    if not kept:
        opened.conf.cachedir = os.path.join(folder, "cache")
    opened.read_all_repos()
    for repository in opened.repos.iter_enabled():
        repository.skip_if_unavailable = True
        if kept:
            repository._repo.setSyncStrategy(dnf.repo.SYNC_ONLY_CACHE)
    opened.fill_sack(load_system_repo=False, load_available_repos=True)
    return opened


def matching(opened: "dnf.Base", words: "list[str]") -> "list[dnf.package.Package]":
    """Packages of exactly one version, those with a SHA-256."""
    name, epoch, version, release, arch = words
    query = opened.sack.query().available()
    query = query.filterm(name=name, epoch=int(epoch), version=version, release=release, arch=arch)
    return [package for package in query if package.returnIdSum()[0] == "sha256"]


def main(verb: str, folder: str, words: "list[str]") -> int:
    """See above."""
    wanted = [words[start : start + 5] for start in range(0, len(words), 5)]
    opened, found = base(folder, kept=True), []
    for kept in (True, False):
        opened = opened if kept else base(folder, kept=False)
        found = [(one, matching(opened, one)) for one in wanted]
        if all(packages for _, packages in found):
            break
    if verb == "find":
        for one, packages in found:
            for package in packages[:1]:
                name = os.path.basename(package.location)
                said = [*one, str(package.downloadsize), package.returnIdSum()[1], name]
                sys.stdout.write("\t".join(said) + "\n")
        return 0
    packages = found[0][1][:1]
    if not packages:
        sys.stderr.write("no repository of this host has it\n")
        return 4
    opened.download_packages(packages)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
