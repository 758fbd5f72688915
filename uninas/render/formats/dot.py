"""Scene -> DOT, in the colours of a theme. Where things stand is left to Graphviz, or known already (`Places`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphviz import Digraph

from uninas.render.formats import style
from uninas.render.formats.style import Theme
from uninas.render.scenes.scene import Cluster, Edge, Item, Line, Panel, Scene, Word, line

TITLE, CAPTION = "page/title", "page/caption"  # no node of a graph can be called so
BAR = 200  # points: the length of the longest bar in a section
SIZES = {"plain": 11, "bold": 11, "text": 10, "note": 10, "small": 9, "title": 15}

Attributes = Mapping[str, str]


@dataclass
class Places:
    """What Graphviz decided, as attributes: of items and clusters by name, and of edges by number."""

    items: dict[str, Attributes] = field(default_factory=dict)
    clusters: dict[str, Attributes] = field(default_factory=dict)
    edges: dict[int, Attributes] = field(default_factory=dict)


class Writer:
    """Writes scenes of one theme."""

    def __init__(self, theme: Theme, heat: float = 0.0, places: Places | None = None):
        """`heat`: the highest share of an item, which gets the hottest colour."""
        self.theme = theme
        self.hottest = heat
        self.places = places or Places()
        self.edges = 0
        self.across = False
        """Whether the picture is read from left to right."""

    def root(self, direction: str) -> Digraph:
        """An empty picture."""
        theme = self.theme
        self.across = direction == "LR"
        root = Digraph("G")
        root.attr(rankdir=direction, ranksep="0.2", nodesep="0.25", fontname=style.FONT, fontcolor=theme.ink)
        root.attr(bgcolor=theme.paper, fontsize="11", labelloc="t", pad="0.1")
        root.attr(
            "node", shape="box", style="rounded,filled", fillcolor=theme.box, color=theme.line, fontname=style.FONT,
            fontsize="11", fontcolor=theme.ink, margin="0.11,0.05", height="0.28", penwidth="0.9",
        )  # fmt: skip
        root.attr(
            "edge", color=theme.line, fontname=style.FONT, fontsize="9", fontcolor=theme.faint, arrowsize="0.6",
            penwidth="1.0", weight="100",
        )  # fmt: skip
        return root

    # ---- parts ---------------------------------------------------------------------------------------------------

    def panel(self, into: Digraph, panel: Panel) -> None:
        """The items of a panel, then its edges: an edge inside a cluster would move nodes."""
        self.cluster(into, panel.body)
        for edge in panel.edges:
            self.edge(into, edge)

    def cluster(self, into: Digraph, cluster: Cluster) -> None:
        inner = into
        if cluster.kind != "bare":
            inner = Digraph(f"cluster_{cluster.name}")
            inner.attr(label=self.heading(cluster.lines), **self.frame(cluster), **self.of_cluster(cluster.name))
        for member in cluster.members:
            if isinstance(member, Cluster):
                self.cluster(inner, member)
            else:
                self.item(inner, member)
        if inner is not into:
            into.subgraph(inner)

    def of_cluster(self, name: str) -> Attributes:
        return self.places.clusters.get(f"cluster_{name}", {})

    def frame(self, cluster: Cluster) -> dict[str, str]:
        """The attributes of a cluster's border."""
        theme = self.theme
        look = {"style": "rounded", "color": theme.border, "margin": "10", "labeljust": "l"}
        look["bgcolor"] = {"panel": theme.panel, "frame": theme.frame}.get(cluster.kind, theme.card)
        if cluster.kind == "stack":
            look["margin"] = "3"
        if cluster.kind in ("stack", "card"):
            look["color"] = theme.faint
        if cluster.kind == "choice":
            look |= {"style": "rounded,dashed", "color": theme.marks["choice"]}
        if cluster.mark:
            look |= {"color": theme.marks[cluster.mark], "penwidth": "1.6", "bgcolor": theme.fills[cluster.mark]}
            look["style"] = "rounded,dashed" if cluster.mark in ("removed", "choice") else "rounded"
        return look

    def item(self, into: Digraph, item: Item) -> None:
        look = self.look(item)
        tip = {"tooltip": style.plain(item.tip)} if item.tip else {}
        label = "" if item.kind == "fork" else self.label(item)
        into.node(item.name, label, **tip, **look, **self.places.items.get(item.name, {}))

    def look(self, item: Item) -> dict[str, str]:
        """Shape and colours of an item."""
        theme = self.theme
        look: dict[str, str] = {}
        if item.kind in ("terminal", "shape", "text"):
            look = {"shape": "plain", "style": "", "margin": "0.02", "height": "0.14"}
        elif item.kind == "fork":
            look = {"shape": "point", "width": "0.05", "height": "0.05", "style": "filled", "fillcolor": theme.ink}
        elif item.kind == "merge":
            look = {
                "shape": "circle", "fixedsize": "true", "width": "0.27", "height": "0.27", "margin": "0",
                "style": "filled", "fillcolor": theme.paper, "fontsize": "13",
            }  # fmt: skip
        elif item.kind == "section":
            look = {"fillcolor": theme.paper, "margin": "0.06"}
        elif item.kind == "block":
            look = {"style": "filled", "penwidth": "1.4"}
        elif item.family:
            look = {"fillcolor": theme.palette[item.family]}
        if item.heat is not None and self.hottest:
            look["fillcolor"] = theme.heat(item.heat / self.hottest)
        if item.mark:
            if item.kind not in ("terminal", "shape", "text"):
                look |= {"color": theme.marks[item.mark], "penwidth": "1.8", "fillcolor": theme.fills[item.mark]}
                rounded = "" if item.kind in ("block", "merge", "fork") else "rounded,"
                dashed = ",dashed" if item.mark in ("removed", "choice") else ""
                look["style"] = f"{rounded}filled{dashed}"
                if item.mark == "changed" and item.kind in ("operation", "block"):
                    look["peripheries"] = "2"
            else:
                look["fontcolor"] = theme.marks[item.mark]
        return look

    def edge(self, into: Digraph, edge: Edge) -> None:
        theme = self.theme
        look: dict[str, str] = {}
        if edge.hidden:
            look["style"] = "invis"
        if edge.label:  # one of several that leave a place: below it, where they do not run through its text
            look |= {"label": f"<{style.text(' ' + edge.label)}>", "tailport": "e" if self.across else "s"}
        if edge.skip:
            look |= {"color": theme.skip, "penwidth": "1.5", "weight": "1"}
        if not edge.arrow:
            look["arrowhead"] = "none"
        if edge.mark:
            look |= {"color": theme.marks[edge.mark], "penwidth": "1.6"}
            if edge.mark in ("removed", "choice"):
                look["style"] = "dashed"
        into.edge(edge.tail, edge.head, **look, **self.places.edges.get(self.edges, {}))
        self.edges += 1

    # ---- labels --------------------------------------------------------------------------------------------------

    def label(self, item: Item) -> str:
        """The HTML-like label of an item."""
        if item.kind == "section":
            return f"<{self.section(item)}>"
        color = self.theme.marks[item.mark] if item.mark and item.kind in ("terminal", "shape") else ""
        return f"<{'<BR/>'.join(self.line(one, color) for one in item.lines)}>"

    def line(self, words: Line, color: str = "") -> str:
        return "".join(self.word(word, color) for word in words)

    def word(self, word: Word, color: str = "") -> str:
        """Some text as markup. Two spaces stay two spaces."""
        markup = style.text(word.text).replace("  ", "&#160; ")
        if word.look in ("bold", "note", "title"):
            markup = f"<B>{markup}</B>"
        if word.look in ("plain", "bold") and not color:
            return markup
        color = color or (self.theme.faint if word.look == "small" else self.theme.ink)
        return f'<FONT POINT-SIZE="{SIZES[word.look]}" COLOR="{color}">{markup}</FONT>'

    def heading(self, lines: tuple[Line, ...], align: str = "LEFT") -> str:
        """The label of a cluster or a picture: lines with a little room between them."""
        if not lines:
            return "<>"
        rows = [f'<TR><TD ALIGN="{align}">{self.line(one)}</TD></TR>' for one in lines]
        return f"<{table(rows)}>"

    def section(self, item: Item) -> str:
        """Name and shape at the two ends of a line, then other lines, then a bar."""
        half = (BAR + 8) // 2
        name, *others = item.lines
        aside = self.word(Word(item.aside, "text"))
        rows = [
            f'<TR><TD ALIGN="LEFT" WIDTH="{half}">{self.line(name)}</TD>'
            f'<TD ALIGN="RIGHT" WIDTH="{half}">{aside}</TD></TR>'
        ]
        wide = '<TR><TD ALIGN="LEFT" BALIGN="LEFT" COLSPAN="2">'
        rows += [f"{wide}{self.line(one)}</TD></TR>" for one in others]
        if item.bar is not None:
            rows.append(f"{wide}{self.bar(dict(item.bar))}</TD></TR>")
        return table(rows)

    def bar(self, parts: Mapping[str, float]) -> str:
        """FLOPs as a bar, by family; as long as the section is expensive."""
        cells = []
        for family, color in self.theme.palette.items():
            width = round(BAR * parts.get(family, 0))
            if width:
                cells.append(f'<TD BGCOLOR="{color}" FIXEDSIZE="TRUE" WIDTH="{width}" HEIGHT="5"></TD>')
        cells.append('<TD HEIGHT="5"></TD>')
        return table([f"<TR>{''.join(cells)}</TR>"], CELLPADDING=0, WIDTH=BAR + 8)

    # ---- above and below the picture -----------------------------------------------------------------------------

    def head(self, scene: Scene) -> str:
        """Title, totals and legend as a label; '' where there is nothing to say."""
        lines = [self.line(line(scene.title, "title"))] if scene.title else []
        lines += [self.line(note) for note in scene.notes]
        keys = [f"{self.swatch(self.edge_of(family))} {family}" for family in scene.families]
        keys += [f"{self.swatch(self.theme.marks[mark])} {mark}" for mark in scene.marks]
        if scene.heat:
            steps = "".join(self.swatch(self.theme.heat(share)) for share in (0.1, 0.4, 0.7, 1.0))
            keys.append(f"0 {steps} {style.text(scene.heat)}")
        if keys:
            small = f'<FONT POINT-SIZE="9" COLOR="{self.theme.faint}">'
            lines.append(f"{small}{'&#160;&#160; '.join(keys)}</FONT>")
        rows = [f'<TR><TD ALIGN="CENTER">{one}</TD></TR>' for one in lines]
        return f"<{table(rows)}>" if rows else ""

    def foot(self, scene: Scene) -> str:
        """The caption as a label, in lines of a bearable length."""
        words, lines = scene.caption.split(), [""]
        for word in words:
            if lines[-1] and len(lines[-1]) + len(word) > 90:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        rows = [f'<TR><TD ALIGN="LEFT">{self.word(Word(one, "text"))}</TD></TR>' for one in lines if one]
        return f"<{table(rows)}>" if rows else ""

    @staticmethod
    def swatch(color: str) -> str:
        return f'<FONT COLOR="{color}">■</FONT>'

    def edge_of(self, family: str) -> str:
        """The colour of a family in a legend: its fill, changed where it would vanish on the paper."""
        if self.theme is style.LIGHT:
            return {"norm": "#b5b5b5", "shape": "#d0d0d0"}.get(family, self.theme.palette[family])
        return {"shape": "#5a5e66"}.get(family, self.theme.palette[family])


def table(rows: list[str], **attributes: object) -> str:
    """A borderless table of ready rows."""
    given = {"BORDER": 0, "CELLBORDER": 0, "CELLSPACING": 0, "CELLPADDING": 1, **attributes}
    listed = " ".join(f'{key}="{value}"' for key, value in given.items())
    return f"<TABLE {listed}>{''.join(rows)}</TABLE>"


def hottest(scene: Scene) -> float:
    """The highest share of an item."""
    return max((item.heat for item in scene.items() if item.heat), default=0.0)


def digraph(scene: Scene, theme: Theme) -> Digraph:
    """The whole scene for any Graphviz: one graph, its panels as clusters."""
    writer = Writer(theme, hottest(scene))
    root = writer.root(scene.direction)
    head, foot = writer.head(scene), writer.foot(scene)
    if head:
        root.attr(label=head)
    for panel in scene.panels:
        writer.panel(root, panel)
    for edge in scene.joins:
        writer.edge(root, edge)
    if foot:
        root.node(CAPTION, foot, shape="plain", style="")
    return root
