"""Analyse every file of the Python standard library, in parallel: the job of `make demo`.

Each file is parsed; definitions, branches and imports are counted, and the longest and most complex
functions are kept. Left out are site-packages and dist-packages, which are not the library's; the
library's own tests are in. Afterwards the same functions do the same work in plain Python.

Three things to look at:
1. `analyze_batch` is a task that submits a task for each of its files, and waits for them. While it
   waits another task has its place.
2. `reduce_tree` adds summaries up in tasks, eight by eight: the driver gets one small result.
3. `show_progress` lets `haz.wait` tell what is done.
"""

import argparse
import ast
import heapq
import os
import sys
import sysconfig
import time
import warnings
from collections import Counter
from pathlib import Path

import haz
from haz.testing import descendants

TOP = 10  # functions in each list of the report
BATCH = 50  # files of one folder that one task looks after
FAN_IN = 8  # summaries that one task of the reduction merges
NO_OPS = 20_000

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (
    *(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While),
    *(ast.ExceptHandler, ast.comprehension, ast.match_case),
)

# ---- the work: plain functions, which know nothing of haz ---------------------------------------


def analyze(path: str) -> dict:
    """Return the summary of one file."""
    source = Path(path).read_bytes()  # bytes: the parser finds out the encoding
    counts = Counter(files=1, lines=source.count(b"\n"), bytes=len(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old code has invalid escapes and the like
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return summary(counts, unparsable=[(path, f"{type(error).__name__}: {error}")])

    imports: Counter[str] = Counter()
    functions = []  # [complexity, lines, place and name]
    stack = [(node, None) for node in ast.iter_child_nodes(tree)]
    while stack:
        node, function = stack.pop()
        if isinstance(node, FUNCTIONS):
            function = [1, node.end_lineno - node.lineno + 1, f"{path}:{node.lineno} {node.name}"]
            functions.append(function)
        elif isinstance(node, ast.ClassDef):
            counts["classes"] += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imports[node.module.partition(".")[0]] += 1
        elif isinstance(node, ast.BoolOp) and function:
            function[0] += len(node.values) - 1
        elif isinstance(node, BRANCHES) and function:
            function[0] += 1
        stack += [(child, function) for child in ast.iter_child_nodes(node)]

    counts.update(functions=len(functions), branches=sum(f[0] - 1 for f in functions))
    return summary(
        counts,
        imports,
        most_complex=[(complexity, place) for complexity, _, place in functions],
        longest=[(lines, place) for _, lines, place in functions],
    )


def summary(counts=(), imports=(), most_complex=(), longest=(), unparsable=()) -> dict:
    return {
        "counts": Counter(counts),
        "imports": Counter(imports),
        "most_complex": heapq.nlargest(TOP, most_complex),
        "longest": heapq.nlargest(TOP, longest),
        "unparsable": sorted(unparsable),
    }


def merge(*summaries: dict) -> dict:
    """Add summaries up. In any order and grouping the result is the same."""
    counts: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    for one in summaries:
        counts.update(one["counts"])
        imports.update(one["imports"])
    lists = {
        name: [entry for one in summaries for entry in one[name]]
        for name in ("most_complex", "longest", "unparsable")
    }
    return summary(counts, imports, **lists)


# ---- the same as tasks --------------------------------------------------------------------------

analyze_task = haz.remote(analyze)
merge_task = haz.remote(merge)


def reduce_tree(refs):
    """Merge in tasks until one ref is left. A ref given as an argument arrives as its value."""
    while len(refs) > 1:
        refs = [merge_task.remote(*refs[i : i + FAN_IN]) for i in range(0, len(refs), FAN_IN)]
    return refs[0]


@haz.remote
def analyze_batch(paths):
    return haz.get(reduce_tree([analyze_task.remote(path) for path in paths]))


def analyze_parallel(batches):
    pending = {analyze_batch.remote(paths): len(paths) for paths in batches}
    total = reduce_tree(list(pending))  # starts as soon as the first eight are there
    show_progress(pending)
    return haz.get(total)


def show_progress(pending):
    """Wait for refs, each of which stands for so many files. Draws a bar; lines into a file."""
    number, done, shown, width = sum(pending.values()), 0, 0, 40
    while pending:
        ready, _ = haz.wait(list(pending), timeout=1)
        done += sum(pending.pop(ref) for ref in ready)
        text = f"{done:5} of {number} files"
        if sys.stdout.isatty():
            bar = "#" * (width * done // number)
            print(f"\r  [{bar:.<{width}}] {text}", end="" if pending else "\n", flush=True)
        elif 5 * done // number > shown:
            shown = 5 * done // number
            print(f"  {text}", flush=True)


# ---- input and output ---------------------------------------------------------------------------


def find_batches(root, limit):
    """Return lists of paths, each of one folder: the library's first `limit` files."""
    batches = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in ("site-packages", "dist-packages"))
        paths = [os.path.join(folder, name) for name in sorted(names) if name.endswith(".py")]
        paths = paths[:limit]
        limit = None if limit is None else limit - len(paths)
        batches += [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
    return batches


def report(total, root):
    counts = total["counts"]
    print(f"\n  {counts['files']:,} files, {counts['lines']:,} lines, {counts['bytes']:,} bytes")
    print(f"  {counts['classes']:,} classes, {counts['functions']:,} functions", end="")
    complexity = 1 + counts["branches"] / max(counts["functions"], 1)
    print(f" with a mean cyclomatic complexity of {complexity:.2f}")
    imports = sorted(total["imports"].items(), key=lambda item: (-item[1], item[0]))[:TOP]
    print("  imported most: " + ", ".join(f"{name} {times}" for name, times in imports))
    print(f"  could not be parsed: {len(total['unparsable'])}")
    for path, reason in total["unparsable"][:3]:
        print(f"    {os.path.relpath(path, root)}: {reason[:60]}")
    for title, name in (("lines", "longest"), ("complexity", "most_complex")):
        print(f"\n  {title:>10}  function")
        for value, place in total[name]:
            print(f"  {value:10}  {os.path.relpath(place, root)}")


def cost_of_a_task():
    """Return the seconds that a task costs that does nothing, workers being warm."""

    @haz.remote
    def nothing():
        pass

    haz.get([nothing.remote() for _ in range(NO_OPS // 10)])
    start = time.perf_counter()
    haz.get([nothing.remote() for _ in range(NO_OPS)])
    return (time.perf_counter() - start) / NO_OPS


def memory_of(pids):
    """Return bytes; a page shared by n processes counts 1/n in each. None where Linux won't say."""
    try:
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    except OSError:
        return None
    return sum(int(text.partition("\nPss:")[2].split()[0]) * 1024 for text in texts)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-cpus", type=positive, help="tasks at a time (default: one per core)")
    parser.add_argument("--limit", type=positive, help="analyse only so many files")
    options = parser.parse_args()

    root = sysconfig.get_path("stdlib")
    batches = find_batches(root, options.limit)
    paths = [path for batch in batches for path in batch]
    if not paths:
        sys.exit(f"no Python files in {root}")
    for path in paths:
        Path(path).read_bytes()  # so that neither of the two runs pays for a cold disk

    start = time.perf_counter()
    haz.init(num_cpus=options.num_cpus)
    init_s = time.perf_counter() - start
    slots = haz.cluster_resources()["CPU"]
    print(f"{len(paths)} files of {root}, {slots:g} tasks at a time")

    start = time.perf_counter()
    total = analyze_parallel(batches)
    parallel_s = time.perf_counter() - start
    processes = [os.getpid(), *descendants()]
    memory = memory_of(processes)
    task_s = cost_of_a_task()
    haz.shutdown()

    start = time.perf_counter()
    expected = merge(*map(analyze, paths))
    plain_s = time.perf_counter() - start

    report(total, root)
    print(f"\n  with haz      {parallel_s:8.2f} s")
    print(f"  plain Python  {plain_s:8.2f} s, {plain_s / parallel_s:.2f} times as long, ", end="")
    print("same result" if total == expected else "ANOTHER RESULT")
    print("\n  what haz itself costs:")
    print(f"  init          {init_s * 1e3:8.1f} ms")
    print(
        f"  a task        {task_s * 1e6:8.1f} us, measured with {NO_OPS:,} that do nothing; the job",
        end="",
    )
    print(f" had {len(paths):,} of files, {len(batches)} of batches, and those that merge")
    if memory is not None:
        print(
            f"  memory        {memory / 1e6:8.1f} MB in {len(processes)} processes, with this one"
        )
    if total != expected:
        sys.exit(1)


if __name__ == "__main__":
    main()
