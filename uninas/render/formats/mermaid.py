"""Scene -> Mermaid, which code hosts draw inside Markdown. Names of items become n0, n1, ...; all texts are escaped."""

from __future__ import annotations

from uninas.render.formats.style import LIGHT
from uninas.render.formats.style import plain as without_control
from uninas.render.scenes.scene import Cluster, Edge, Item, Scene, plain


def mermaid(scene: Scene) -> str:
    """The scene as a flowchart. Colours are those of the light theme."""
    writer = _Writer()
    lines = [f"flowchart {scene.direction}"]
    if scene.title:
        lines = ["---", f"title: {quoted(scene.title)}", "---", *lines]
    for panel in scene.panels:
        lines += writer.cluster(panel.body, "    ")
    for edge in scene.edges():
        if edge.hidden:
            continue
        lines.append("    " + writer.edge(edge))
    for family in sorted({item.family for item in scene.items() if item.family and item.kind == "operation"}):
        lines.append(f"    classDef {family} fill:{LIGHT.palette[family]},stroke:{LIGHT.line},color:{LIGHT.ink}")
    for mark in sorted({item.mark for item in scene.items() if item.mark}):
        dashes = ",stroke-dasharray:4 3" if mark in ("removed", "choice") else ""
        colours = f"fill:{LIGHT.fills[mark]},stroke:{LIGHT.marks[mark]},color:{LIGHT.ink}"
        lines.append(f"    classDef {mark} {colours}{dashes}")
    return "\n".join(lines) + "\n"


class _Writer:
    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.clusters = 0

    def name(self, item: str) -> str:
        return self.names.setdefault(item, f"n{len(self.names)}")

    def cluster(self, cluster: Cluster, indent: str) -> list[str]:
        inside = indent if cluster.kind == "bare" else indent + "    "
        lines = []
        for member in cluster.members:
            lines += self.cluster(member, inside) if isinstance(member, Cluster) else [inside + self.item(member)]
        if cluster.kind == "bare":
            return lines
        self.clusters += 1
        label = plain(cluster.lines[:1]) or " "
        return [f"{indent}subgraph c{self.clusters}[{quoted(label)}]", *lines, f"{indent}end"]

    def item(self, item: Item) -> str:
        """A box, a circle for merges, bare text for shapes."""
        rows = [plain((one,)) for one in item.lines]
        if item.aside:
            rows[0] += f"  {item.aside}"
        label = quoted("\n".join(rows) or " ")
        left, right = {"merge": ("((", "))"), "fork": ("((", "))"), "operation": ("(", ")")}.get(item.kind, ("[", "]"))
        style = item.mark or (item.family if item.kind == "operation" else "")
        return f"{self.name(item.name)}{left}{label}{right}" + (f":::{style}" if style else "")

    def edge(self, edge: Edge) -> str:
        arrow = "-.->" if edge.mark in ("removed", "choice") else "==>" if edge.skip else "-->" if edge.arrow else "---"
        label = f"|{quoted(edge.label)}|" if edge.label else ""
        return f"{self.name(edge.tail)} {arrow}{label} {self.name(edge.head)}"


SPECIAL = '"&<>#`|[](){}\\;:%@*_~$'


def quoted(value: str) -> str:
    """Text in quotes, in which no character means anything: Mermaid's own entities stand for the special ones."""
    kept = [without_control(row).replace("∖", "\\") for row in value[:400].split("\n")]
    rows = ("".join(f"#{ord(c)};" if c in SPECIAL else c for c in row) for row in kept)
    return f'"{"<br/>".join(rows)}"'
