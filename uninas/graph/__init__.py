"""Architecture graphs: what they are, how they are built, simplified, summed up, compared and varied. No torch here."""

from uninas.graph.graph import INPUT, Block, Each, Graph, GraphError, Node, Operator, Wire, live, sharing, subgraphs

__all__ = ["INPUT", "Block", "Each", "Graph", "GraphError", "Node", "Operator", "Wire", "live", "sharing", "subgraphs"]
