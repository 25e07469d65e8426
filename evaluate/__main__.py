"""Command line of the evaluator."""

from __future__ import annotations

import click

from evaluate.commands.baselines import bag_of_objects, oracle
from evaluate.commands.compare import compare
from evaluate.commands.multiple_choice import multiple_choice
from evaluate.commands.question_answering import question_answering
from evaluate.commands.retrieval import retrieval


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """How good a model is: figures with their protocol, counts and intervals, and a page to look at.

    Exit codes: 0 done, 1 something of the protocol is missing (listed), 2 bad usage or input.
    """


main.add_command(retrieval)
main.add_command(multiple_choice)
main.add_command(question_answering)
main.add_command(compare)
main.add_command(bag_of_objects)
main.add_command(oracle)

if __name__ == "__main__":
    main(prog_name="python -m evaluate")
