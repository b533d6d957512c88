"""Commands that are started in several processes: together, or each for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compseg_jax.runtime.cluster import Cluster, ProcessesError, cluster_of, joined

HELP = (
    "Several processes, each with its own GPUs, work as one: under SLURM (srun), Open MPI (mpirun) and Kubernetes by "
    "themselves, elsewhere with --coordinator HOST:PORT --processes N --process I, I from 0. docs/cluster.md says more."
)
_OPTIONS = ("--coordinator", "--processes", "--process")


def together(command: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Carries out a command as one of the processes it was started in, if there are several."""
    rest, cluster = asked_cluster(arguments)
    with joined(cluster):
        command(rest)


def apart(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Carries out a command in each of the processes it was started in, on its own devices; none waits for another."""
    rest, cluster = asked_cluster(arguments)
    if cluster is not None and cluster.devices is not None:
        import jax

        jax.config.update("jax_cuda_visible_devices", ",".join(map(str, cluster.devices)))
    return command(rest)


def asked_cluster(arguments: list[str]) -> tuple[list[str], Cluster | None]:
    """The arguments without those that say which of several processes this is, and where it stands among them.

    Raises:
      ProcessesError: when they do not fit together.
    """
    rest, given = [], dict.fromkeys(_OPTIONS, "")
    left = iter(arguments)
    for argument in left:
        option, equals, value = argument.partition("=")
        if option in given:
            given[option] = value if equals else next(left, "")
            if not given[option]:
                raise ProcessesError(f"{option} needs a value, as in {option} {_EXAMPLES[option]}.")
        else:
            rest.append(argument)
    if {"-h", "--help"}.intersection(rest):
        return rest, None
    processes, process = (_number(option, given[option]) for option in _OPTIONS[1:])
    return rest, cluster_of(given["--coordinator"] or None, processes, process)


def without_options(arguments: Sequence[str], *names: str) -> list[str]:
    """The arguments without some options and their values.

    >>> without_options(["store", "--shard", "1/2", "--seeds=0", "--ray=auto"], "--shard", "--ray")
    ['store', '--seeds=0']
    """
    left, kept = iter(arguments), []
    for argument in left:
        if argument in names:
            next(left, None)
        elif argument.partition("=")[0] not in names:
            kept.append(argument)
    return kept


_EXAMPLES = {"--coordinator": "node1:29500", "--processes": "2", "--process": "0"}


def _number(option: str, text: str) -> int | None:
    if text and not text.isdecimal():
        raise ProcessesError(f"{option} {text}: must be a whole number, as in {option} {_EXAMPLES[option]}.")
    return int(text) if text else None
