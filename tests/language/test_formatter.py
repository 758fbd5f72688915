"""`fmt`: one layout, which is a fixed point, keeps every comment and never changes what a text means."""

import random
from collections import Counter

import pytest
from helpers.texts import texts
from hypothesis import example, given, settings
from hypothesis import strategies as st

import uninas
from uninas.errors import Source, UninasError
from uninas.language.elaborate import space
from uninas.language.formatter import format_text
from uninas.language.library import find
from uninas.language.parser import parse
from uninas.language.resources import library_root

FILES = sorted(library_root().rglob("*.uni"))


def tree(text: str) -> tuple[object, ...]:
    """What a text means: imports and definitions, doc comments included, places not."""
    file = parse(Source("text", text))
    return file.imports, file.definitions


def comments(text: str) -> Counter[str]:
    return Counter(line[line.index("#") :].strip() for line in text.split("\n") if "#" in line)


def assert_formats(text: str) -> None:
    once = format_text(text)
    assert tree(once) == tree(text)
    assert comments(once) == comments(text)
    assert format_text(once) == once
    assert not once or once.endswith("\n")
    assert "\n\n\n" not in once
    assert not any(line != line.rstrip() or "\t" in line.partition("#")[0] for line in once.split("\n"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_keep_their_meaning(path):
    assert_formats(path.read_text(encoding="utf-8"))


@settings(max_examples=150)
@given(texts())
@example("")
@example("# nothing else")
@example("block A { out = in } block B { out = in }")
@example("block A {\n# inside\nout = in\n# end\n} # behind\n# detached\n\n# of B\nblock B { out = in }")
def test_any_text_keeps_its_meaning(text):
    assert_formats(text)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\f\n"])
def test_line_ends_of_every_kind_become_one_kind(end):
    text = end.join(["# Doc.", "block A {", "\t# Why.", "\tout = in # How.", "}", ""])
    assert format_text(text) == "# Doc.\nblock A {\n    # Why.\n    out = in  # How.\n}\n"


UGLY = """\
from blocks.a import  A
from blocks.b import B,
C
# Doc.
block   Gate( reduce=4,body:block=conv( 3,bias = false ),kind:{ max , mean }=max ){


  # Squeeze.
  gate=in->global_avg_pool # to one position
->conv( C/reduce , kernel=1 )->sigmoid

  # Two heads.



  heads = in -> split(- 8+C)->each part
  { q,k , v = part->chunk( 3 )
out = (q,k) -> matmul1
       -> if C>3 and not  k.H ==1 { relu }
   else {
gelu }
  } as heads
  out = (in
* gate) -> body


} space S {
input 3 x 32 x 32
   choose e in { identity , {relu->conv( C )} }
 stage 16 .. 64 step 16 x 1..3 with k in { 3,5 },
 j in {1} { e->conv(width,k)
,
conv(k in { 1,3 }) x 2 }
moves insert 0.7 { conv(C),relu }, remove 0.3
budget params<=1M,flops 90%..110%
}
network Empty{}
# The end."""

TIDY = """\
from blocks.a import A
from blocks.b import B,
    C

# Doc.
block Gate(reduce = 4, body: block = conv(3, bias=false), kind: {max, mean} = max) {
    # Squeeze.
    gate = in -> global_avg_pool  # to one position
              -> conv(C / reduce, kernel=1) -> sigmoid

    # Two heads.

    heads = in -> split(-8 + C) -> each part
    { q, k, v = part -> chunk(3)
        out = (q, k) -> matmul1
                     -> if C > 3 and not k.H == 1 { relu }
                     else {
                         gelu }
    } as heads
    out = (in
        * gate) -> body
}

space S {
    input 3 x 32 x 32
    choose e in {identity, { relu -> conv(C) }}
    stage 16..64 step 16 x 1..3 with k in {3, 5},
        j in {1} { e -> conv(width, k)
            ,
            conv(k in {1, 3}) x 2 }
    moves insert 0.7 {conv(C), relu}, remove 0.3
    budget params <= 1M, flops 90%..110%
}

network Empty {}
# The end.
"""


def test_the_layout():
    assert format_text(UGLY) == TIDY


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a=-b", "a = -b"),
        ("a=b- -c", "a = b - -c"),
        ("a=f(k=- 3)", "a = f(k=-3)"),
        ("a=f(k=(b))", "a = f(k=(b))"),
        ("a=f(k={ relu })", "a = f(k={ relu })"),
        ("a=f({ each p { q=p } })", "a = f({ each p { q = p } })"),
        ("a=in . C//2%3", "a = in.C // 2 % 3"),
        ("a=in [ 0 ] . H", "a = in[0].H"),
        ("a=not (b)or(c)", "a = not (b) or (c)"),
        ("a=in->repeat(3){ relu|gelu }", "a = in -> repeat (3) { relu | gelu }"),
        ("a=f( )", "a = f()"),
    ],
)
def test_spaces_within_a_line(written, meant):
    assert format_text(f"block A {{ {written} }}") == f"block A {{ {meant} }}\n"


def test_a_comment_away_from_a_definition_does_not_become_its_doc():
    text = "block A { out = in }\n# Not about B.\n\nblock B { out = in }\n"
    assert format_text(text) == text.replace("}\n#", "}\n\n#")


def test_arrows_stand_under_arrows_unless_those_are_far_to_the_right():
    near = "block A {\n    out = in -> relu\n-> relu\n}\n"
    far = f"block A {{\n    {'o' * 40} = in -> relu\n-> relu\n}}\n"
    assert format_text(near).split("\n")[2] == " " * 13 + "-> relu"
    assert format_text(far).split("\n")[2] == " " * 8 + "-> relu"


def test_a_text_that_does_not_parse_is_refused_with_its_place():
    with pytest.raises(UninasError) as caught:
        format_text("block A { out = in -> }", "a.uni")
    assert str(caught.value).startswith("a.uni:1:23: error[UNI002]: expected")


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("name", uninas.list_models())
def test_printed_texts_are_laid_out_already(name, explicit):
    text = uninas.dumps(uninas.load(name), explicit=explicit)
    assert format_text(text) == text
    assert format_text(f"# a remark\n{text}") == f"# a remark\n{text}"


@pytest.mark.parametrize("name", ["UniNAS", "UniDAG", "nasbench201", "mobilenetv2"])
def test_printed_members_of_spaces_are_laid_out_already(name):
    found = space(*find(name))
    rng = random.Random(0)
    graphs = [found.start()] if found.start else []
    if found.build:
        graphs += [found.build(lambda choice: rng.randrange(len(choice.options))) for _ in range(5)]
    for graph in graphs:
        for explicit in (False, True):
            text = uninas.dumps(graph, explicit=explicit)
            assert format_text(text) == text


@given(
    st.integers(1, 9),
    st.lists(
        st.sampled_from(["conv(C, 3)", "batch_norm", "relu", "conv(C * 2, 1, bias=false)"]), min_size=1, max_size=14
    ),
)
@settings(max_examples=60, deadline=None)
def test_printed_blocks_of_any_length_are_laid_out_already(length, steps):
    """Names and chains that are broken at every place."""
    name = "w" * length * 3
    text = f"block B {{ input 16 x 8 x 8  {name} = in -> {' -> '.join(steps)}  out = ({name}, in) -> concat }}"
    for explicit in (False, True):
        printed = uninas.dumps(uninas.load(text), explicit=explicit)
        assert format_text(printed) == printed
