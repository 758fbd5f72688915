"""Scores of a network at initialisation, for any `nn.Module`: they know torch only, never our graphs."""

from uninas.proxies import vkdnw as _vkdnw  # noqa: F401  # registers its proxies
from uninas.proxies.base import Proxy, ProxyError, Score, get, proxies, score

__all__ = ["Proxy", "ProxyError", "Score", "get", "proxies", "score"]
