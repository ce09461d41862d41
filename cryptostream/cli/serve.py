"""`cryptostream serve`: the HTTP API and the dashboard."""

import asyncio
from typing import Annotated

import typer

from cryptostream.cli import render
from cryptostream.cli.command import Call, command


@command("serve")
async def serve(
    call: Call,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Where; 0 takes a free one.")] = None,
) -> None:
    """Serve the API and the dashboard."""
    import uvicorn

    from cryptostream.web import site as web
    from cryptostream.wiring import serving

    async with serving.site(call.settings(serve__port=port)) as made, asyncio.TaskGroup() as tasks:
        for companion in made.companions:
            tasks.create_task(companion())  # type: ignore[arg-type]
        config = uvicorn.Config(
            web.make(made.probes, made.commands, secret="x" * 20),
            host="127.0.0.1",
            port=port or 8000,
            log_level="warning",
            ws="websockets-sansio",
        )
        render.note(f"http://127.0.0.1:{config.port}/dashboard/")
        await uvicorn.Server(config).serve()
        raise KeyboardInterrupt
