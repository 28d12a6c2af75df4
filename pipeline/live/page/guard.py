"""Who may use the page: this machine's browser, or whoever was given the link with the token."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "tpvideo-token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; media-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address may hold the token
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer: the page loads nothing from elsewhere and is loaded by nobody else."""


class Guard:
    """Lets a request in or answers 403.

    On loopback the Host must be a name of this machine, or a page elsewhere could reach us under
    a name of its own (DNS rebinding). On other addresses a token is needed, from the address the
    first time and from a cookie afterwards. A WebSocket must come from our own page.

    Args:
        host: the address that the server binds.
    """

    def __init__(self, host: str) -> None:
        self.token = None if host in LOOPBACK else secrets.token_urlsafe(24)

    @property
    def query(self) -> str:
        """What is added to the page's address."""
        return f"?token={self.token}" if self.token else ""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """aiohttp's hook round every request."""
        self._check(request)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if response.prepared:  # a WebSocket that has come to its end
            return response
        response.headers.update(HEADERS)
        if self.token and "token" in request.query:
            response.set_cookie(COOKIE, self.token, httponly=True, samesite="Strict")
        return response

    def _check(self, request: web.Request) -> None:
        if self.token is None:
            if _name_of(request.host) not in LOOPBACK:
                raise web.HTTPForbidden(text="this page answers on localhost only")
        else:
            given = request.query.get("token") or request.cookies.get(COOKIE) or ""
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise web.HTTPForbidden(text="open the whole link that tpvideo printed")
        if "Upgrade" in request.headers:
            origin = urlsplit(request.headers.get("Origin", ""))
            if origin.scheme not in ("http", "https") or origin.netloc != request.host:
                raise web.HTTPForbidden(text="only this page itself may connect")


def _name_of(host: str) -> str:
    """The name or address in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
