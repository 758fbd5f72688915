"""The server of tools, spoken to by the client of the protocol's own SDK, over standard input and output."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from helpers.reports import searched
from mcp import ClientSession, StdioServerParameters, stdio_client

from uninas import load
from uninas.cli.mcp import TOOLS
from uninas.language.formatter import format_text

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
network small {
    input 3 x 32 x 32
    stem conv(8, 3) -> relu
    head global_avg_pool -> linear(10)
}
"""
AROUND = """\
from networks.micro_resnet import micro_resnet

space Around {
    start micro_resnet
    moves insert {gelu, conv(C, 1)}, remove
}
"""

Ask = Callable[..., Awaitable[Any]]


def with_server(talk: Callable[[ClientSession, Ask], Awaitable[None]], *options: str) -> None:
    """Start a server, say what `talk` says, and stop it."""

    async def run() -> None:
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "uninas", "mcp", *options], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        async with stdio_client(server) as (receive, send), ClientSession(receive, send) as session:
            await session.initialize()

            async def ask(tool: str, **given: Any) -> Any:
                answer = await session.call_tool(tool, given)
                words = "".join(getattr(part, "text", "") for part in answer.content)
                if answer.is_error:
                    raise ValueError(words)
                found = answer.structured_content or {}
                return found["result"] if set(found) == {"result"} else found or words

            await talk(session, ask)

    asyncio.run(run())


def test_every_tool_is_listed_as_one_that_only_reads() -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {tool.__name__ for tool in TOOLS}
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
        assert all(tool.description for tool in tools.values())

    with_server(talk)


def test_a_text_is_checked_mended_laid_out_and_summarised() -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        wrong = SMALL.replace("relu", "rellu")
        found = await ask("check", text=wrong)
        (problem,) = found["problems"]
        assert (found["ok"], problem["code"], problem["suggestion"]) == (False, "UNI010", "relu")
        mended = wrong[: problem["span"]["start"]] + problem["suggestion"] + wrong[problem["span"]["end"] :]
        assert mended == SMALL
        assert (await ask("check", text=mended))["ok"]
        assert await ask("format", text=SMALL.replace(" -> ", "->")) == format_text(SMALL) == SMALL
        summary = await ask("summary", net=SMALL)
        assert summary["params"] == load(SMALL).cost.params == 8 * 3 * 9 + 8 + 8 * 10 + 10
        (conv,) = await ask("operation", name="conv")
        assert conv["attributes"][0]["name"] == "out"
        assert len(await ask("operation")) > 50
        with pytest.raises(ValueError, match=r"UNI020|UNI010"):
            await ask("summary", net=wrong)

    with_server(talk)


def test_a_move_that_is_listed_can_be_made() -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        found = await ask("moves", net="micro_resnet", space=AROUND, limit=3)
        assert len(found) == 3
        for move in found:
            text = await ask("apply", net="micro_resnet", space=AROUND, edit=move["edit"])
            made = load(text)
            assert (made.key[:16], made.cost.params) == (move["key"], move["params"])
        with pytest.raises(ValueError, match="UNI080"):
            await ask("apply", net="micro_resnet", space=AROUND, edit={"kind": "none"})

    with_server(talk)


def test_no_tool_opens_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.uni"
    path.write_text(SMALL, encoding="utf-8")

    async def talk(session: ClientSession, ask: Ask) -> None:
        for tool in ("summary", "moves"):
            with pytest.raises(ValueError, match="expected a text"):
                await ask(tool, net=str(path))
        (problem,) = (await ask("check", text="from small import small\nblock A { out = in -> relu }"))["problems"]
        assert problem["code"] == "UNI017"

    with_server(talk)


def test_a_network_is_drawn_and_scored() -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        assert "flowchart" in await ask("render", net=SMALL)
        assert (await ask("render", net="micro_resnet", form="svg")).lstrip().startswith("<svg")
        found = await ask("score", net=SMALL, proxy="params")
        assert found["value"] == load(SMALL).cost.params
        scored = await ask("score", net=SMALL, proxy="naswot", img_size=16)
        assert scored == await ask("score", net=SMALL, proxy="naswot", img_size=16)
        with pytest.raises(ValueError, match="expected the name of a proxy"):
            await ask("score", net=SMALL, proxy="os:remove")

    with_server(talk)


def test_searches_in_the_folder_that_a_user_names_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    searched(tmp_path / "runs" / "first")

    async def talk(session: ClientSession, ask: Ask) -> None:
        assert await ask("runs") == ["first"]
        assert (await ask("status", run="first"))["candidates"] == 12
        (best,) = await ask("top", run="first", count=1, texts=True)
        assert load(best["text"]).cost.params == best["params"] == best["score"]
        for outside in ("../runs/first", str(tmp_path / "runs" / "first"), "", ".", ".."):
            with pytest.raises(ValueError, match="expected the name of a run"):
                await ask("status", run=outside)

    with_server(talk, "--runs", str(tmp_path / "runs"))
