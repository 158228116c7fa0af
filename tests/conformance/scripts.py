"""What a person types in each scenario, as data: options of ``%mcp add``, and cells.

The server is called ``server`` and so is the variable. A `Script` whose `refusal` is set is about
an attack or a fault: one of its cells has to fail, with an error that says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CLIENT_METADATA_URL = "https://conformance-test.local/client-metadata.json"
"""The only client ID metadata document the suite's authorization server knows."""

FIRST_TOOL = "next(iter(server.tools))()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One person's notebook.

    Attributes:
        options: Of ``%mcp add``.
        secrets: Environment variables of the kernel; never on a line.
        prepare: A cell between connecting and waiting.
        cells: The cells once connected.
        refusal: What the error that has to end it says (a regular expression), or ``""``.
    """

    options: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""
    cells: tuple[str, ...] = (FIRST_TOOL,)
    refusal: str = ""


def script(scenario: str, context: Mapping[str, Any]) -> Script:
    """Returns what to do in a scenario.

    Args:
        scenario: Its name.
        context: What the suite hands to the client: credentials, calls.
    """
    if scenario == "http-custom-headers":
        return Script(cells=tuple(_call(**call) for call in context["toolCalls"]))
    if "client_id" in context:
        return _with_client(scenario, context)
    return _SCRIPTS.get(scenario, Script())


def _call(name: str, arguments: dict[str, Any]) -> str:
    """Returns a cell that makes exactly this call, nulls and odd names included."""
    return f"%%mcp call server {name}\n{json.dumps(arguments)}"


def _with_client(scenario: str, context: Mapping[str, Any]) -> Script:
    """Returns a script for a client that was registered beforehand."""
    options = ["--client-id", context["client_id"]]
    secrets = {}

    def secret(option: str, variable: str, value: str) -> None:
        options.extend((option, variable))
        secrets[variable] = value

    if "client_secret" in context:
        secret("--client-secret-env", "CONFORMANCE_SECRET", context["client_secret"])
    if "client-credentials" in scenario:
        options += ["--grant", "client_credentials"]
    if "private_key_pem" in context:
        options += ["--auth-method", "private_key_jwt"]
        options += ["--signing-algorithm", context["signing_algorithm"]]
        secret("--private-key-env", "CONFORMANCE_KEY", context["private_key_pem"])
    if "valid_jwt" in context:
        options += ["--grant", "jwt_bearer"]
        secret("--assertion-env", "CONFORMANCE_ASSERTION", context["valid_jwt"])
    if "idp_client_id" in context:
        options += ["--grant", "enterprise", "--idp-client-id", context["idp_client_id"]]
        options += ["--idp-token-endpoint", context["idp_token_endpoint"]]
        secret("--idp-id-token-env", "CONFORMANCE_ID_TOKEN", context["idp_id_token"])
    return Script(options=tuple(options), secrets=secrets)


_ANOTHER_ISSUER = Script(refusal="its iss is another")

_SCRIPTS = {
    "initialize": Script(cells=("len(server.tools)",)),
    "tools_call": Script(cells=("server.tools.add_numbers(a=5, b=3)",)),
    "request-metadata": Script(cells=("len(server.tools)", "%mcp tools server")),
    "elicitation-sep1034-client-defaults": Script(
        prepare="server.on_question = mcp_notebook.accept_defaults",
        cells=("server.tools.test_client_elicitation_defaults()",),
    ),
    "sse-retry": Script(cells=("server.tools.test_reconnection()",)),
    "sep-2322-client-request-state": Script(
        prepare="server.on_question = lambda question: {'confirmed': True}",
        cells=(
            "server.tools.test_mrtr_echo_state()",
            "server.tools.test_mrtr_unrelated()",
            "server.tools.test_mrtr_no_state()",
            "server.tools.test_mrtr_no_result_type()",
        ),
    ),
    "http-invalid-tool-headers": Script(
        cells=(
            "assert [tool.name for tool in server.tools] == ['valid_tool']",
            "server.tools.valid_tool(region='north')",
        )
    ),
    "json-schema-ref-no-deref": Script(cells=("[str(tool) for tool in server.tools]",)),
    "json-schema-2020-12-preservation": Script(
        cells=(
            "schema = server.tools.json_schema_2020_12_tool.input_schema",
            "server.tools.json_schema_echo(schema=schema)",
        )
    ),
    "auth/basic-cimd": Script(options=("--client-metadata-url", CLIENT_METADATA_URL)),
    "auth/dpop": Script(options=("--dpop", "on")),
    "auth/dpop-nonce": Script(options=("--dpop", "on")),
    "auth/scope-retry-limit": Script(refusal="want of permissions"),
    "auth/resource-mismatch": Script(refusal="resource"),
    "auth/iss-supported-missing": Script(refusal="its iss is missing"),
    "auth/iss-wrong-issuer": _ANOTHER_ISSUER,
    "auth/iss-unexpected": _ANOTHER_ISSUER,
    "auth/iss-normalized": _ANOTHER_ISSUER,
    "auth/metadata-issuer-mismatch": Script(refusal="issuer"),
}
