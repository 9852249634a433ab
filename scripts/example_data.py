"""What ``scripts/example-data OUT n=2000 seed=0`` runs."""

import sys

from ehrsynth.errors import InputError
from ehrsynth.study.example_data import write_examples

USAGE = "scripts/example-data OUT [n=2000] [seed=0]: OUT is a folder that does not exist yet"


def main(words: list[str]) -> int:
    """Write the data; 2 if what was asked is wrong."""
    options = dict(word.partition("=")[::2] for word in words[1:])
    if (
        not words
        or "=" in words[0]
        or not options.keys() <= {"n", "seed"}
        or not all(map(str.isdigit, options.values()))
    ):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        print(write_examples(words[0], **{name: int(number) for name, number in options.items()}))
    except InputError as error:
        print(f"example-data: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
