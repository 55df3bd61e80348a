"""The tables of README.md say what made them; the speed tables are what a command writes."""

import json
import re
from pathlib import Path

import pytest

from experiments.benchmark import harness, readme, speed_tables, svm_table
from experiments.benchmark.harness import Row

pytestmark = [pytest.mark.experiments, pytest.mark.any_precision]
README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"<!-- table: (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)
COMMAND = ["python", "-m", "experiments.benchmark", "all", "--out", "here", "--repeats", "7"]


def row(part, work, peer, seconds, **more):
    return Row(part, work, peer, seconds, seconds, seconds, 1, **more)


def full_rows():
    """A row of everything that a full benchmark measures and the tables show."""
    rows = []
    for part, lines in speed_tables.LINES.items():
        for line in lines:
            more = {"flops": 2e9} if line.limit else {}
            rows.append(row(part, line.work, f"{line.ours}, and so on", 0.5, **more))
            rows += [row(part, line.work, peer, 1.25, reached=7.0) for peer in line.peers.values()]
    for work in speed_tables.STARTS:
        kinds = ("nothing kept", "first run", "second run")
        rows += [row("start", work, f"jaxsvm, {kind}", i + 2.5) for i, kind in enumerate(kinds)]
    for known in svm_table.FULL:
        for loss in known.losses:
            for reg, gap in known.tolerances.items():
                work = f"{known.dataset}, {loss}, reg {reg or 1e-5:.2g}, to a gap of {gap:g}"
                name = "jaxsvm.solve: proved 9.1e-04, gap 8.1e-04, test accuracy 39.30 %"
                how = "gap 4.3e-01 with effort 2, test accuracy 1 %"
                peers = [f"far: NOT reached, {how}", f"near: {how.replace('e-01', 'e-02')}"]
                rows.append(row("dual", work, name, 2.0))
                rows += [row("dual", work, peer, 0.5) for peer in peers]
    return rows


def write_json(path, rows):
    limits, config = harness.Limits(flops=8e9, bytes=1e9), harness.Config(size="tiny")
    harness.write(path, rows, limits, config, COMMAND)


def cells(text):
    """The cells of a text's table, row by row, without the rule below the header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [found[0], *found[2:]]


def test_every_table_of_numbers_says_what_made_it():
    text, count = README.read_text(), 0
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        for table in re.finditer(r"(?:^\|.*\n)+", section, re.MULTILINE):
            above = section[: table.start()]
            assert re.search(r"`python -m |<!-- table: python|compute this table", section), above
            count += 1
    names = [name for name, _ in BLOCK.findall(text)]
    assert text.count("<!-- table:") == text.count("<!-- end -->") == len(names) == len(set(names))
    assert count > len(names) > 7


def test_the_speed_tables_have_the_rows_that_the_command_writes(tmp_path):
    path, copy = tmp_path / "all.json", tmp_path / "README.md"
    write_json(path, full_rows())
    copy.write_text(README.read_text())
    with pytest.raises(SystemExit, match="0"):
        readme.main([str(path), "--readme", str(copy)])
    before, after = (dict(BLOCK.findall(file.read_text())) for file in (README, copy))
    assert list(before) == list(after)
    written = {name for name in before if not name.startswith("python")}
    assert written == {*speed_tables.LINES, "start", "dual, cifar10", "dual, digits"}
    for name in written:
        known, new = cells(before[name]), cells(after[name])
        assert known[0] == new[0]
        # The first two of a solver's cells say what was solved.
        first = 2 if name.startswith("dual") else 1
        assert [row[:first] for row in known] == [row[:first] for row in new], name
        assert after[name].startswith("`python -m experiments.benchmark all --repeats 7` (")
    # Every other table, and every word between them, stays.
    blank = [BLOCK.sub("", file.read_text()) for file in (README, copy)]
    assert blank[0] == blank[1]
    assert {n: before[n] for n in set(before) - written} == {
        n: after[n] for n in set(before) - written
    }
    # 2e9 operations at 8e9 a second are a quarter of a second, of half a one.
    assert cells(after["descent"])[1][1:] == [
        "500 ms, 50 % of the roofline",
        "NumPy's best layout 2.5, reaches 7; PyTorch 2.5, reaches 7",
    ]
    solved = ["Crammer-Singer", "1/(2·N)", "9.1e-04", "39.30 %", "2 s", "near 4.3 % after 500 ms"]
    assert solved in cells(after["dual, cifar10"])
    assert ["one-vs-rest", "0.0001", "2 s", "near 0.25"] in cells(after["dual, digits"])


def test_the_tables_of_a_gpu_stand_apart(tmp_path):
    write_json(tmp_path / "all.json", full_rows())
    record = json.loads((tmp_path / "all.json").read_text())
    here = speed_tables.tables(record)
    record["machine"] |= {"device": "gpu: H100", "processor": "Xeon", "cores": 16}
    there = speed_tables.tables(record)
    assert list(there) == [f"{name}, gpu" for name in here]
    where = f"(H100; NumPy on 16 cores of Xeon, JAX {record['machine']['versions']['jax']})"
    assert all(where in text.splitlines()[0] for text in there.values())


def test_a_command_that_prints_its_table_is_run(tmp_path, capsys):
    path = tmp_path / "README.md"
    script = tmp_path / "made.py"
    script.write_text("print('words\\n| a |\\n|---|\\n| 1 |\\n\\nmore')")
    block = f"a\n<!-- table: python {script} -->\n| a |\n|---|\n| 0 |\n<!-- end -->\nb\n"
    path.write_text(block)
    with pytest.raises(SystemExit, match="0"):
        readme.main(["--run", "made.py", "--readme", str(path)])
    assert path.read_text() == block.replace("| 0 |", "| 1 |")
    # What cannot be read is one line, and changes nothing.
    (tmp_path / "bad.json").write_text("{}")
    script.write_text("raise SystemExit(3)")
    for arguments in (["--run", "made.py"], ["--run", "other"], [str(tmp_path / "bad.json")], []):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            readme.main([*arguments, "--readme", str(path)])
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert "| 1 |" in path.read_text()
