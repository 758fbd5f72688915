"""The database of runs and rankings: readers change nothing, one process writes, strangers do no harm."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from uninas.errors import UninasError
from uninas.runs.database import Database, Form

FORM = Form(
    "things.sqlite",
    "box",
    0x54455354,
    3,
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE things (number INTEGER PRIMARY KEY, size REAL NOT NULL, name TEXT);
    CREATE INDEX by_size ON things (size);
    """,
    "make one first",
)


@FORM.migration(2)
def _names(db):
    db.execute("ALTER TABLE things RENAME TO old")
    db.execute("DROP INDEX by_size")
    db.execute("CREATE TABLE things (number INTEGER PRIMARY KEY, size REAL NOT NULL, name TEXT)")
    db.execute("INSERT INTO things SELECT number, size, NULL FROM old")
    db.execute("DROP TABLE old")
    db.execute("CREATE INDEX by_size ON things (size)")


def filled(folder, count=3):
    with Database(folder, FORM) as box, box.transaction():
        box.db.executemany("INSERT INTO things VALUES (?, ?, ?)", [(n, n / 2, f"n{n}") for n in range(count)])


def numbers(folder):
    with Database(folder, FORM, read_only=True) as box:
        return [number for (number,) in box.db.execute("SELECT number FROM things ORDER BY number")]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edited(path, *statements):
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_what_is_finished_is_one_file_and_looking_at_it_changes_nothing(tmp_path):
    filled(tmp_path)
    before = contents(tmp_path)
    assert before.keys() == {FORM.file}
    assert numbers(tmp_path) == [0, 1, 2] and contents(tmp_path) == before
    with Database(tmp_path, FORM, read_only=True) as box, pytest.raises(sqlite3.OperationalError, match="readonly"):
        box.db.execute("DELETE FROM things")


KILLED = """
import os, signal, sys
from pathlib import Path
from uninas.runs.database import Database, Form
form = Form("things.sqlite", "box", 0x54455354, 3, sys.argv[2])
box = Database(Path(sys.argv[1]), form)
with box.transaction():
    box.db.execute("INSERT INTO things VALUES (7, 1.0, NULL)")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path):
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, folder, FORM.schema])
    assert done.returncode == -signal.SIGKILL and (folder / f"{FORM.file}-wal").stat().st_size
    return folder


def test_what_a_killed_process_wrote_is_seen_by_who_may_write_and_who_may_not(killed, tmp_path):
    assert numbers(killed) == [7]
    (copy := tmp_path / "copy").mkdir()
    for end in ("", "-wal"):  # as somebody copies it who does not know of the third file
        shutil.copy(killed / f"{FORM.file}{end}", copy)
    before = contents(copy)
    assert numbers(copy) == [7] and contents(copy) == before
    filled(killed)
    assert numbers(killed) == [0, 1, 2, 7] and contents(killed).keys() == {FORM.file}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs rights of files")
def test_a_folder_that_may_only_be_read_is_read_whole(killed):
    script = """
import os, sys
from pathlib import Path
from uninas.runs.database import Database, Form
form = Form("things.sqlite", "box", 0x54455354, 3, sys.argv[2])
if os.geteuid() == 0:
    os.setegid(65534); os.seteuid(65534)
with Database(Path(sys.argv[1]), form, read_only=True) as box:
    print(*box.db.execute("SELECT number FROM things").fetchall())
"""
    for path in [*killed.iterdir(), killed]:
        path.chmod(0o555)
    for above in killed.parents:  # with several workers there is one more than with one
        if above == Path(tempfile.gettempdir()):
            break
        above.chmod(above.stat().st_mode | 0o055)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, killed, FORM.schema], capture_output=True, text=True, check=True
        )
    finally:
        killed.chmod(0o755)
    assert done.stdout == "(7,)\n"


def test_a_reader_sees_what_another_process_is_writing(tmp_path):
    with Database(tmp_path, FORM) as box:
        for number in range(3):
            with box.transaction():
                box.db.execute("INSERT INTO things VALUES (?, 1.0, NULL)", (number,))
            assert numbers(tmp_path) == [*range(number + 1)]
        with Database(tmp_path, FORM, read_only=True) as reader:
            assert reader.being_written
    with Database(tmp_path, FORM, read_only=True) as reader:
        assert not reader.being_written


def test_one_process_writes_and_asking_whether_one_does_stops_none(tmp_path):
    filled(tmp_path)
    over = threading.Event()

    def ask():
        with Database(tmp_path, FORM, read_only=True) as reader:
            while not over.is_set():
                assert reader.being_written is not None

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(50):
            with Database(tmp_path, FORM), pytest.raises(UninasError, match="another process writes to the box"):
                Database(tmp_path, FORM)
    finally:
        over.set()
        for asker in askers:
            asker.join()


def older(folder):
    filled(folder)
    edited(
        folder / FORM.file, "DROP INDEX by_size", "DROP TABLE things",
        "CREATE TABLE things (number INTEGER PRIMARY KEY, size REAL NOT NULL)", "CREATE INDEX by_size ON things (size)",
        "INSERT INTO things VALUES (5, 0.5)", "PRAGMA user_version = 2",
    )  # fmt: skip


def test_an_older_format_is_read_without_a_change_and_upgraded_to_write(tmp_path):
    older(tmp_path)
    before = contents(tmp_path)
    assert numbers(tmp_path) == [5] and contents(tmp_path) == before
    with Database(tmp_path, FORM) as box:
        assert box.db.execute("SELECT * FROM things").fetchall() == [(5, 0.5, None)]
        assert box.db.execute("PRAGMA user_version").fetchone() == (3,)


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    older(tmp_path)

    def broken(db):
        db.execute("DROP TABLE things")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setitem(FORM.migrations, 2, broken)
    with pytest.raises(UninasError, match="I/O"):
        Database(tmp_path, FORM)
    monkeypatch.undo()
    assert numbers(tmp_path) == [5]


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (4, "a newer")])
def test_a_format_from_which_no_way_leads_here_is_refused(version, age, tmp_path):
    filled(tmp_path)
    edited(tmp_path / FORM.file, f"PRAGMA user_version = {version}")
    for read_only in (True, False):
        with pytest.raises(UninasError, match=f"it has format {version}\n.*{age} version"):
            Database(tmp_path, FORM, read_only=read_only)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, 1.0, '' FROM n"


@pytest.mark.parametrize(
    "change",
    [
        ["DROP TABLE things", f"CREATE VIEW things AS {ENDLESS}"],
        ["CREATE TRIGGER t AFTER INSERT ON things BEGIN DELETE FROM settings; END"],
        ["CREATE TABLE more (x)"],
        ["DROP TABLE things"],
        ["CREATE INDEX odd ON things (abs(size))"],
    ],
)
def test_tables_that_are_not_ours_are_refused_at_once(change, tmp_path):
    filled(tmp_path)
    edited(tmp_path / FORM.file, *change)
    for read_only in (True, False):
        with pytest.raises(UninasError, match="has other tables than a box has"):
            Database(tmp_path, FORM, read_only=read_only)


@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
def test_a_link_in_place_of_a_file_is_refused_and_what_it_leads_to_stays(end, tmp_path):
    filled(tmp_path / "mine")
    before = contents(tmp_path / "mine")
    (tmp_path / "theirs").mkdir()
    if end:
        filled(tmp_path / "theirs")
    (tmp_path / "theirs" / f"{FORM.file}{end}").symlink_to(tmp_path / "mine" / FORM.file)
    for read_only in (True, False):
        with pytest.raises(UninasError, match=r"expected a plain file, but .* is a link"):
            Database(tmp_path / "theirs", FORM, read_only=read_only)
    assert contents(tmp_path / "mine") == before


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / FORM.file)
    for read_only in (True, False):
        with pytest.raises(UninasError, match="expected a plain file"):
            Database(tmp_path, FORM, read_only=read_only)


def test_settings_that_somebody_has_changed_are_a_message(tmp_path):
    filled(tmp_path)
    for value in ("{", "[" * 100_000, "1" * 10_000):
        db = sqlite3.connect(tmp_path / FORM.file)
        db.execute("INSERT OR REPLACE INTO settings VALUES ('seed', ?)", (value,))
        db.commit()
        db.close()
        with Database(tmp_path, FORM, read_only=True) as box, pytest.raises(UninasError, match="UNI070"):
            assert box.settings


def test_a_name_that_no_file_can_have_is_a_message(tmp_path):
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(UninasError, match="cannot use"):
            Database(tmp_path / name, FORM, read_only=True)
