"""How the source is laid out: tests mirror modules, and modules and functions stay short enough to read.

What doesn't hold yet is listed at the top, one entry a line. An entry that isn't needed any more fails the test too, so
that the lists only get shorter.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE, TESTS, BENCHMARKS = ROOT / "src" / "ia2", ROOT / "tests", ROOT / "benchmarks"

LONGEST_MODULE = 300
LONGEST_FUNCTION = 60

MODULES_WITHOUT_A_TEST = {
    "__init__.py",  # tests/repository/test_public.py
}
TESTS_WITHOUT_A_MODULE = {
    "reports/page/test_page_in_browser.py",  # reports/page/page.py once more, in a browser
}
LONG_MODULES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
MODULES_THAT_NAME_FLAGS = {
    "adapters/card.py",  # a card's commands
    "experiments/cluster.py",
    "experiments/single.py",
    "experiments/store.py",
    "experiments/trackers.py",
    "models/packaged.py",  # pip's
    "reports/report.py",
    "training/method_files.py",
}
"""Below the command line an error names a field, which the command line shows as its flag."""
VARIABLES_THAT_SAY_NOTHING: set[str] = set()
ROOMS_OF_THEIR_OWN = {"real", "repository", "gpu", "fuzz", "hostile", "kill", "machine"}
"""Folders of tests that mirror no room: whole flows on real data and on a GPU, the repository itself, any input."""
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "misc", "common"}
FORBIDDEN_VARIABLES = {"own", "found", "kept", "one", "place", "given"}
"""Names of variables, parameters and functions that don't say what they hold."""

READS_THE_CLOCK = {"cli/cache.py"}
"""Modules for which the time of day matters. All others measure durations, which a clock that is set doesn't change."""

MARKED = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".cff", ".jinja", ".css", ".js", ".ipynb"}
"""Endings of the files that a merge may have left unfinished."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def modules(folder=SOURCE):
    """Each module's path inside the folder, and its text."""
    return {path.relative_to(folder): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}


def functions(tree, prefix=""):
    """Every function and method with its qualified name, those inside others too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def defined_names(tree):
    """The name of every variable, parameter and function that a module defines, in comprehensions and classes too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, Definition | ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name


def length(function):
    """Lines from `def` to the last one, decorators not counted."""
    return function.end_lineno - function.lineno + 1


def check_list(found, listed, rule):
    """What breaks a rule is what is listed, no more and no less."""
    new, stale = sorted(set(found) - listed), sorted(listed - set(found))
    assert not new, f"{rule}: {', '.join(new)}"
    assert not stale, f"listed in test_structure.py without need, so take it out: {', '.join(stale)}"


def mirrored(test):
    """The path that a test file's module has inside src/ia2, or inside benchmarks/."""
    return test.parent / f"{test.stem.removeprefix('test_')}.py"


def test_every_test_file_mirrors_a_module():
    strays = []
    for path in modules(TESTS):
        if path.parts[0] in ROOMS_OF_THEIR_OWN or path.name == "conftest.py":
            continue
        if not path.name.startswith("test_"):
            # shared helpers lie at the root alone
            strays += [str(path)] if path.parent != Path() else []
        elif path.parts[0] == "benchmarks":
            strays += [] if (ROOT / mirrored(path)).is_file() else [str(path)]
        elif not (SOURCE / mirrored(path)).is_file():
            strays.append(str(path))
    check_list(strays, TESTS_WITHOUT_A_MODULE, "tests that mirror no module")


def test_every_module_that_defines_something_has_a_test_module():
    untested = [
        str(path)
        for path, text in modules().items()
        if any(isinstance(statement, Definition) for statement in ast.parse(text).body)
        and not (TESTS / path.parent / f"test_{path.name}").is_file()
    ]
    check_list(untested, MODULES_WITHOUT_A_TEST, "modules without a test module")


def test_no_module_is_too_long_to_read():
    long = [str(path) for path, text in modules().items() if len(text.splitlines()) > LONGEST_MODULE]
    check_list(long, LONG_MODULES, f"modules over {LONGEST_MODULE} lines")


def test_no_function_is_too_long_to_read():
    long = [
        f"{path}:{name}"
        for path, text in modules().items()
        for name, function in functions(ast.parse(text))
        if length(function) > LONGEST_FUNCTION
    ]
    check_list(long, LONG_FUNCTIONS, f"functions over {LONGEST_FUNCTION} lines")


def test_no_file_has_a_name_that_says_nothing():
    paths = [path for folder in (SOURCE, TESTS, BENCHMARKS) for path in folder.rglob("*") if path.suffix == ".py"]
    assert len(paths) > 100
    assert not [str(path) for path in paths if NAMES_THAT_SAY_NOTHING & set(path.stem.split("_"))]
    assert not [str(path) for path in paths if NAMES_THAT_SAY_NOTHING & set(path.relative_to(ROOT).parts)]


def test_variables_parameters_and_functions_say_what_they_hold():
    silent = [
        f"{path}:{name}"
        for path, text in modules().items()
        for name in FORBIDDEN_VARIABLES.intersection(defined_names(ast.parse(text)))
    ]
    check_list(silent, VARIABLES_THAT_SAY_NOTHING, "names that don't say what they hold")


def test_nothing_but_the_age_of_the_caches_files_depends_on_the_time_of_day():
    clock = re.compile(r"\b(?:time\.time(?:_ns)?|datetime\.(?:now|today|utcnow)|date\.today|localtime|gmtime)\b")
    reading = [str(path) for path, text in modules().items() if clock.search(text)]
    check_list(reading, READS_THE_CLOCK, "modules that read the clock")


def test_names_are_collected_wherever_they_are_defined():
    tree = ast.parse(
        "class A:\n    b: int = 1\n    def c(self, d, *e, f=0, **g): return [h for h in d if (i := read(h))]\n"
        "j = lambda k: k\nfor l, (m, n) in o: pass\nwith p as q: pass\n"
        "try: pass\nexcept r as s: pass\n"
        "match t:\n    case [u, *v]: pass\n"
    )
    assert sorted(defined_names(tree)) == sorted(["A", *"bcdefghijklmnqsuv", "self"])


def flags(tree):
    """What looks like an option of a command line in a module's texts, those that document something left out."""
    statements = (
        statement
        for node in ast.walk(tree)
        if isinstance(node, Definition | ast.Module)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    )
    documented = {id(statement.value) for statement in statements}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield from re.findall(r"(?<![\w-])--[a-z][\w-]*", node.value)


def test_no_error_below_the_command_line_names_a_flag():
    named = [str(path) for path, text in modules().items() if path.parts[0] != "cli" and any(flags(ast.parse(text)))]
    check_list(named, MODULES_THAT_NAME_FLAGS, "modules that name flags")


def test_flags_are_seen_in_texts_alone():
    tree = ast.parse("""'as --lr'\na = f'use --n {b}'  # or --c\nraise Error('--no-d: e--f --- --', '--g')""")
    assert sorted(flags(tree)) == ["--g", "--n", "--no-d"]


def test_functions_are_counted_wherever_they_stand():
    tree = ast.parse(
        "@cached\ndef a():\n    if b:\n        def c():\n            pass\n\n\nclass D:\n    async def e(self): ..."
    )
    assert [(name, length(function)) for name, function in functions(tree)] == [("a", 4), ("a.c", 2), ("D.e", 1)]


def test_a_list_must_be_exact():
    check_list(["a"], {"a"}, "rule")
    with pytest.raises(AssertionError, match="rule: b"):
        check_list(["a", "b"], {"a"}, "rule")
    with pytest.raises(AssertionError, match="take it out: a"):
        check_list([], {"a"}, "rule")


def test_no_text_holds_the_marks_of_a_merge():
    texts = [
        path
        for folder in (ROOT, *(ROOT / name for name in ("src", "tests", "docs", "benchmarks", "experiments", ".ci")))
        for path in (folder.glob("*") if folder == ROOT else folder.rglob("*"))
        if path.suffix in MARKED or path.name in ("Makefile", "run")
    ]
    assert len(texts) > 400
    marks = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)
    assert [str(path.relative_to(ROOT)) for path in texts if marks.search(path.read_text(encoding="utf-8"))] == []
