"""Coverage-guided fuzzing of everything that reads text (not part of the test run).

    pip install -e ".[fuzz]"
    mkdir -p /tmp/corpus && cp spaces/*.uni spaces/*/*.uni tests/diagnostics/*.uni /tmp/corpus
    python tests/fuzz/fuzz_language.py -max_total_time=300 -max_len=4096 /tmp/corpus

Any exception but a UninasError is a finding; libFuzzer writes the input that caused it beside you.
"""

import sys

import atheris

with atheris.instrument_imports(include=["uninas", "lark"]):
    from uninas.errors import UninasError
    from uninas.graph import Graph
    from uninas.language.elaborate import build, check
    from uninas.language.formatter import format_text
    from uninas.language.library import load_text
    from uninas.language.printer import dumps


def read(data: bytes) -> None:
    text = atheris.FuzzedDataProvider(data).ConsumeUnicodeNoSurrogates(len(data)) if data[:1] == b"\xff" else ""
    text = text or data.decode("utf-8", "replace")
    try:
        format_text(text)
        for name, found in check(load_text(text)).items():
            if isinstance(found, Graph) and found.operations < 2000:
                again = build(load_text(dumps(found, name)), name)
                assert again == found, "text does not give the graph back"
    except UninasError as problem:
        str(problem)


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
