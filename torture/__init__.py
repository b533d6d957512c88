"""The campaign: what is stored is damaged, commands are killed, files are forged; what comes of it is counted.

`make torture` runs it and writes a table into benchmarks/results/. A case that holds is refused with one sentence, or
its result is that of the undisturbed. Anything else is bad, and is named with the seed that makes it again.
"""
