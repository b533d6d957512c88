"""`compseg sweep`: the cells of a sweep as processes one after another, and the table that compares them."""

from __future__ import annotations

from collections.abc import Sequence

from compseg_jax.cli.next_steps import print_next, view
from compseg_jax.cli.parsing import HelpPage, parse, progress_bar
from compseg_jax.cli.processes import apart, without_options
from compseg_jax.cli.quiet import tell
from compseg_jax.runtime import cache_compilations
from compseg_jax.runtime.interrupts import Interrupted, stop_requests
from compseg_jax.runtime.jobs import Job, JobEnd, run_here
from compseg_jax.runtime.ray_jobs import ray_cluster
from compseg_jax.training.sweep.comparison import terminal_text, write_comparison
from compseg_jax.training.sweep.options import SweepOptions
from compseg_jax.training.sweep.plan import PLAN_FILE, Cell, Plan, begin

INTERRUPTED = 130
PAGE = HelpPage(
    "sweep",
    text="Train every recipe with every seed (and fold), evaluate all on the same samples, and compare them.\n\n"
    "Each training is an ordinary run in a process of its own, one after another here. The same command goes on where "
    "a sweep was stopped or killed, and several processes with the same --out share the cells. `compseg slurm sweep` "
    "prints a job array, --ray runs them on a Ray cluster. docs/sweep.md says more.",
    example="compseg sweep store --recipes default,cam --seeds 0,1,2 --out sweep",
    groups={
        "options": ("data", "out", "recipes", "seeds", "folds", "vary", "network", "split"),
        "many machines": ("shard", "ray", "cell"),
    },
    positional=("data", "STORE"),
)


def run(arguments: list[str]) -> int:
    """Runs a sweep, or one cell of it; 1 where a cell failed, or is not finished at the end of a whole sweep."""
    return apart(_sweep, arguments)


def options_of(arguments: list[str]) -> SweepOptions:
    """What arguments ask for."""
    return parse(SweepOptions, arguments, PAGE)


def _sweep(arguments: list[str]) -> int:
    options = options_of(arguments)
    plan, own = begin(options)
    if options.cell:
        return _one(plan, plan.named(options.cell), options)
    before = [cell for cell in own if plan.is_finished(cell)]
    left = [cell for cell in own if cell not in before]
    many = f"{len(own)} of {len(plan.cells)}" if len(own) < len(plan.cells) else str(len(own))
    print(f"{many} trainings, {len(before)} of them finished before", flush=True)
    for cell in left:
        plan.forget_failure(cell)
    if options.ray and left:
        _on_ray(plan, left, arguments, options.ray)
    else:
        _one_after_another(plan, left, arguments)
    return _compare(plan, own, whole=not options.shard)


def _one(plan: Plan, cell: Cell, options: SweepOptions) -> int:
    from compseg_jax.training.sweep.cell import run_cell

    cache_compilations()
    if not run_cell(plan, cell, options):
        print(f"{cell.name}: in the hands of another process")
    return 0


def _one_after_another(plan: Plan, cells: Sequence[Cell], arguments: Sequence[str]) -> None:
    with stop_requests() as stop, progress_bar("trainings") as bar:
        for number, cell in enumerate(cells):

            def watch(number: int = number, cell: Cell = cell) -> bool:
                bar(number + plan.progress(cell), len(cells))
                return stop.requested

            if stop.requested:
                raise _stopped(plan, cells)
            bar(number, len(cells))
            ended = run_here(job(plan, cell, arguments), watch=watch)
            if stop.requested or ended.code == INTERRUPTED:
                raise _stopped(plan, cells)
            note(plan, cell, ended)
        bar(len(cells), len(cells))


def _on_ray(plan: Plan, cells: Sequence[Cell], arguments: Sequence[str], address: str) -> None:
    by_name = {cell.name: cell for cell in cells}
    # Ray takes SIGTERM for itself when it starts, so what asks to stop comes after it.
    with ray_cluster(address) as cluster, stop_requests() as stop, progress_bar("trainings") as bar:
        print(f"Ray: {cluster.slots} trainings at once", flush=True)

        def watch() -> bool:
            bar(sum(map(plan.progress, cells)), len(cells))
            return stop.requested

        done = cluster.run(
            [job(plan, cell, arguments) for cell in cells],
            plan.out / PLAN_FILE,
            is_done=lambda each: plan.is_finished(by_name[each.name]),
            ended=lambda each, ended: note(plan, by_name[each.name], ended),
            watch=watch,
        )
    if not done:
        raise _stopped(plan, cells)


def job(plan: Plan, cell: Cell, arguments: Sequence[str]) -> Job:
    """A cell as a command: that of the sweep, for this cell alone."""
    words = without_options(arguments, "--shard", "--ray")
    return Job(cell.name, ("sweep", *words, "--cell", cell.name), plan.log(cell))


def note(plan: Plan, cell: Cell, ended: JobEnd) -> None:
    """Says how a cell ended, and notes a failure beside it."""
    if plan.is_finished(cell):
        plan.forget_failure(cell)
        print(f"{cell.name}: done", flush=True)
    elif ended.code:
        plan.put_failure(cell, ended.error)
        print(f"{cell.name}: failed ({ended.error}); what it said: {plan.log(cell)}", flush=True)
    else:
        print(f"{cell.name}: in the hands of another process", flush=True)


def _stopped(plan: Plan, cells: Sequence[Cell]) -> Interrupted:
    done = sum(map(plan.is_finished, cells))
    return Interrupted(
        f"stopped; {done} of {len(cells)} trainings are finished, the one in hand is saved. The same command goes on."
    )


def _compare(plan: Plan, own: Sequence[Cell], *, whole: bool) -> int:
    comparison = write_comparison(plan)
    failed = {cell.name: why for cell in own if (why := plan.failure(cell))}
    missing = [cell.name for cell in plan.cells if not plan.is_settled(cell)]
    tell(sweep=plan.out, failed=failed, missing=missing, recipes=comparison.summaries)
    print(f"\n{terminal_text(comparison)}\n")
    if missing:
        print(f"{len(missing)} of {len(plan.cells)} trainings are not finished yet")
    print(f"comparison: {plan.out / 'sweep.html'} (also sweep.csv, sweep.json)")
    best = [row for row in comparison.rows if row.is_finished]
    if best:
        print_next(view(plan.out / best[0].run / "report"))
    return 1 if failed or (whole and any(not plan.is_settled(cell) for cell in own)) else 0
