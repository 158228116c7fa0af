"""The pages a person meets at the demo's authorization server. No script, nothing from outside."""

from __future__ import annotations

import html
import secrets
from string import Template

from starlette.responses import HTMLResponse

STYLE = """
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --text: #1c1e21;
  --soft: #5c636b; --line: #dfe2e6; --main: #2457d6; --on-main: #fff }
@media (prefers-color-scheme: dark) { :root { --back: #14161a; --card: #1e2126; --text: #e8eaed;
  --soft: #a2a9b1; --line: #353a41; --main: #7fa4ff; --on-main: #10131a } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif }
main { width: 100%; max-width: 27rem; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px }
.mark { display: grid; grid-template-columns: repeat(3, 14px); gap: 4px; margin-bottom: 1.25rem }
.mark i { width: 14px; height: 14px; border-radius: 3px; background: var(--main) }
.mark i:nth-child(2), .mark i:nth-child(6) { opacity: .35 }
.mark i:nth-child(4), .mark i:nth-child(8) { opacity: .65 }
h1 { margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.3 }
p { margin: 0 0 1rem }
ul { margin: 0 0 1.25rem; padding: 0; list-style: none; border: 1px solid var(--line);
  border-radius: 10px }
li { padding: .75rem 1rem }
li + li { border-top: 1px solid var(--line) }
code { font-size: .9em }
small, .soft { color: var(--soft) }
form { display: flex; gap: .75rem; margin: 0 0 1.25rem }
button { flex: 1; padding: .7rem 1rem; font: inherit; font-weight: 600; border-radius: 9px;
  border: 1px solid var(--line); background: transparent; color: inherit; cursor: pointer }
button.main { background: var(--main); border-color: var(--main); color: var(--on-main) }
button:focus-visible { outline: 3px solid var(--main); outline-offset: 2px }
"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style nonce="$nonce">$style</style>
</head>
<body>
<main>
<div class="mark" aria-hidden="true"><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i>
</div>
<h1>$title</h1>
$content
</main>
</body>
</html>
""")

CONSENT = Template("""<p><strong>$client</strong> on this computer asks for your permission to:</p>
<ul>
$scopes
<li>Stay signed in<br><small>until you sign out, or for 30 days without use</small></li>
</ul>
<form method="post" action="/authorize">
<input type="hidden" name="page" value="$page">
<button name="decision" value="deny">Deny</button>
<button class="main" name="decision" value="approve" autofocus>Approve</button>
</form>
<small>Your answer goes to <code>$target</code>. This is the demo server of mcp_notebook: it runs
on this computer, and nothing leaves it.</small>""")

SCOPES = {
    "explore": ("Explore the elements", "call its tools and read its data"),
}


def consent(*, client: str, scope: str, target: str, page: str) -> HTMLResponse:
    """Returns the page that asks a person to approve or deny.

    Args:
        client: The name the client gave itself; shown as text.
        scope: What is asked for, separated by spaces.
        target: The origin the browser is sent back to.
        page: What names this request when the answer comes.
    """
    content = CONSENT.substitute(
        client=html.escape(client),
        scopes="\n".join(_scope(name) for name in scope.split()),
        target=html.escape(target),
        page=html.escape(page),
    )
    # Browsers hold the redirect after a form to form-action too (CSP 3 §6.4.2)
    return _page("Sign in to the demo server", content, form_action=f"'self' {target}")


def notice(title: str, text: str, *, status: int = 400) -> HTMLResponse:
    """Returns a page that only says something."""
    content = f'<p class="soft">{html.escape(text)}</p>'
    return _page(html.escape(title), content, status=status)


def _scope(name: str) -> str:
    title, text = SCOPES.get(name, (name, ""))
    return f"<li>{html.escape(title)}<br><small>{html.escape(text)}</small></li>"


def _page(
    title: str, content: str, *, form_action: str = "'none'", status: int = 200
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(12)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return HTMLResponse(
        PAGE.substitute(title=title, content=content, nonce=nonce, style=STYLE),
        status,
        headers={
            "content-security-policy": policy,
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        },
    )
