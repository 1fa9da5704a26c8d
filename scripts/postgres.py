"""Where Postgres' server programs are, and who may run them. Used by setup and with-postgres."""

import glob
import os
import pathlib
import pwd
import re
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
PROGRAMS = ("postgres", "initdb", "pg_ctl")


class NoPostgres(Exception):
    pass


def find():
    """The directory of the programs: $ROOTSTOCK_PG_BIN, PATH, the newest packaged one, Homebrew's, .tools."""
    chosen = os.environ.get("ROOTSTOCK_PG_BIN")
    if chosen:
        if not _has_programs(chosen):
            raise NoPostgres(f"ROOTSTOCK_PG_BIN is {chosen}, which has no {', '.join(PROGRAMS)}")
        return pathlib.Path(chosen)
    for directory in _candidates():
        if _has_programs(directory):
            # A link may lie where an unprivileged user cannot go.
            return pathlib.Path(directory).resolve()
    raise NoPostgres("no Postgres server found: run scripts/setup, or set ROOTSTOCK_PG_BIN to its bin directory")


def _candidates():
    on_path = shutil.which("postgres")
    if on_path:
        yield pathlib.Path(on_path).resolve().parent
    yield from _newest_first("/usr/lib/postgresql/*/bin")
    for opt in ("/opt/homebrew/opt", "/usr/local/opt"):
        yield from _newest_first(f"{opt}/postgresql@*/bin")
    yield TOOLS / "postgres/bin"


def _newest_first(pattern):
    def version(path):
        return [int(number) for number in re.findall(r"\d+", path)]

    return sorted(glob.glob(pattern), key=version, reverse=True)


def _has_programs(directory):
    return all(os.access(os.path.join(directory, program), os.X_OK) for program in PROGRAMS)


def unprivileged_user():
    """Who runs the server when we are root, which Postgres refuses to be; None when we are not."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return pwd.getpwuid(65534)


def open_to_others(path):
    """Whether a user who owns nothing can reach the path."""
    path = pathlib.Path(path).resolve()
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents) if part.exists())
