"""An MCP server as a program on standard input and output, of as few lines as may be.

It speaks 2025-11-25. `--die TEXT` ends it at once, `--die-after-list` once its tools are listed,
and the tool `crash` in the middle of a call. With `--stubborn FILE` it does not end when it is
asked to, unless the file is there already.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "crash", "sleep")]


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    match message.get("method"):
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "program", "version": "1"},
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call":
            name = message["params"]["name"]
            if name == "crash":
                os._exit(3)
            if name == "sleep":
                time.sleep(30)
            text = message["params"].get("arguments", {}).get("text", "")
            return {"content": [{"type": "text", "text": text}]}
    return None


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--die"]:
        sys.exit(arguments[1])
    if arguments[:1] == ["--note"]:
        Path(arguments[1]).write_text(json.dumps({"pid": os.getpid()}))
    stubborn = arguments[:1] == ["--stubborn"] and not Path(arguments[1]).exists()
    if stubborn:
        Path(arguments[1]).write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        said = answer(message)
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        reply |= {"result": said} if said else {"error": {"code": -32601, "message": "unknown"}}
        print(json.dumps(reply), flush=True)
        if arguments == ["--die-after-list"] and message["method"] == "tools/list":
            sys.exit(1)
    if stubborn:
        time.sleep(5)


if __name__ == "__main__":
    main(sys.argv[1:])
