"""Whom alerts may go to: the log, a stream, an address over HTTPS, people by e-mail. Nothing is opened to check it."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Secret, SecretStr, model_serializer, model_validator

from cryptostream.config.lists import listed
from cryptostream.config.quantities import Flag, Whole
from cryptostream.config.reading import KINDS
from cryptostream.config.section import Section
from cryptostream.config.words import got, unknown, wrong
from cryptostream.engine import secretfile
from cryptostream.errors import ConfigError
from cryptostream.web.egress import is_loopback, refusal

STREAM = "alerts"
_MAX_SECRET_BYTES = 1 << 16
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:{}-]{0,199}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_URL = "should be an address as in https://host/path"


class HookUrl(Secret[str]):
    """An address whose path and query may be all that keeps others from using it, so only its host prints."""

    def _display(self) -> str:
        return f"{host_of(self.get_secret_value())}/***"


def host_of(url: str) -> str:
    """The part of an address that may be printed.

    >>> host_of("https://hooks.example.org:8443/services/T0/hunter2?key=x")
    'https://hooks.example.org:8443'
    """
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{re.split(r'[/?#]', rest, maxsplit=1)[0].rpartition('@')[2]}"


def _check_hook(value: Any) -> Any:
    """No message quotes the address."""
    if isinstance(value, HookUrl):
        return value
    if not isinstance(value, str):
        raise wrong(_URL)
    try:
        url = urlsplit(value)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise wrong("not an address") from None
    if not (value.isascii() and value.isprintable()) or " " in value or url.scheme not in ("https", "http"):
        raise wrong(_URL)
    if url.username is not None or url.password is not None or url.fragment:
        raise wrong("should be an address without user and fragment")
    if not _is_host(host):
        raise wrong(f"{_URL}; other letters than ASCII in a host are written as xn--...")
    return value


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text))
    return True


def _check_host(text: str) -> str:
    if not _is_host(text):
        raise wrong(f"should be the name or the address of a host, got {got(text)}")
    return text


def _check_address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise wrong(f"should be one e-mail address as in ops@example.org, got {got(text)}")
    return text


def _check_env(text: str) -> str:
    if not _ENV.fullmatch(text):
        raise wrong("should be the name of an environment variable")
    return text


def _check_written(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise wrong(f"should be the name of a stream, of letters, digits and ._:{{}}-, got {got(text)}")
    if text.partition(":")[0] in KINDS:
        raise wrong(f"alerts do not go among the {text.partition(':')[0]}; name a stream of their own")
    return text


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise wrong("lies in a home folder and there is none") from None


EnvName = Annotated[str, AfterValidator(_check_env)]
File = Annotated[Path, AfterValidator(_expanded)]
Host = Annotated[str, AfterValidator(_check_host)]
MailAddress = Annotated[str, AfterValidator(_check_address)]


class LogTarget(Section):
    """The program's own log."""


class StreamTarget(Section):
    """A stream on the bus."""

    name: Annotated[str, AfterValidator(_check_written)] = Field(
        STREAM, description="The stream that alerts are appended to; it keeps about 10,000."
    )


class WebhookTarget(Section):
    """An address that is called over HTTPS."""

    url: Annotated[HookUrl, BeforeValidator(_check_hook)] = Field(
        description="Where to POST: https://, its path and query taken for secrets. Secret."
    )
    secret: SecretStr | None = Field(None, min_length=1, description="What signs each call. Secret.")
    secret_file: File | None = Field(None, description="A file that holds `secret`.")
    secret_env: EnvName | None = Field(None, description="An environment variable that holds `secret`.")
    allow_private: Flag = Field(
        False,
        description="Whether its host may be on this machine or a private network, and on loopback be http://.",
    )
    ca_file: File | None = Field(None, description="Certificates to trust instead of the system's (PEM).")

    @model_validator(mode="after")
    def _may_be_called(self) -> Self:
        _only_one(self, "secret")
        url = urlsplit(self.url.get_secret_value())
        host = url.hostname or ""
        if url.scheme == "http" and not (self.allow_private and (host == "localhost" or is_loopback(host))):
            raise wrong("should start with https://; http:// is for this machine only, with allow_private: true")
        why = "a loopback" if host == "localhost" else _refusal(host)
        if why and not self.allow_private:
            raise wrong(f"{host} is {why} address; allow_private: true permits it")
        return self


class MailTarget(Section):
    """E-mail over SMTP."""

    host: Host = Field(description="The SMTP server.")
    port: Whole | None = Field(
        None, ge=1, le=65_535, description="Its port; 587 for `starttls`, 465 for `tls`, 25 for `none`, unless set."
    )
    sender: MailAddress = Field(alias="from", description="Whom letters are from.")
    to: Annotated[list[MailAddress], BeforeValidator(listed)] = Field(
        min_length=1, max_length=50, description="Whom they go to."
    )
    user: str | None = Field(None, min_length=1, max_length=200, description="The login; none unless set.")
    password: SecretStr | None = Field(None, min_length=1, description="Its password. Secret.")
    password_file: File | None = Field(None, description="A file that holds `password`.")
    password_env: EnvName | None = Field(None, description="An environment variable that holds `password`.")
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="Whether TLS begins on request, with the first byte, or never; the last on loopback only.",
    )
    ca_file: File | None = Field(None, description="Certificates to trust instead of the system's (PEM).")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        _only_one(self, "password")
        if bool(self.user) != any((self.password, self.password_file, self.password_env)):
            raise wrong("`user` and `password` go together")
        if self.tls == "none" and not (self.host == "localhost" or is_loopback(self.host)):
            raise wrong("tls: none is for this machine only; use starttls or tls")
        return self


class Target(Section):
    """One of these; `log` and `stream` may stand as a word alone."""

    log: LogTarget | None = Field(None, description="A warning in the log, which goes to stderr.")
    stream: StreamTarget | None = Field(None, description="A stream on the bus.")
    webhook: WebhookTarget | None = Field(None, description="A call over HTTPS.")
    mail: MailTarget | None = Field(None, description="An e-mail.")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, Target):
            return value
        found = {value: {}} if isinstance(value, str) else value
        if not isinstance(found, dict) or len(found) != 1:
            raise wrong("should be a target's name, or one name with its settings: {webhook: {url: ...}}")
        ((name, given),) = found.items()
        if name not in cls.model_fields:
            raise wrong(unknown("target", name if "://" not in str(name) else "", tuple(cls.model_fields)))
        return {name: {} if given is None else given}

    @model_serializer(mode="plain", when_used="unless-none")
    def _written(self) -> Any:
        given = self.target.model_dump(by_alias=True, exclude_defaults=True)
        return {self.kind: given} if given else self.kind

    @property
    def kind(self) -> str:
        """`log`, `stream`, `webhook` or `mail`."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def target(self) -> LogTarget | StreamTarget | WebhookTarget | MailTarget:
        """Its settings."""
        found: LogTarget | StreamTarget | WebhookTarget | MailTarget = getattr(self, self.kind)
        return found


def secret(section: WebhookTarget | MailTarget, env: Mapping[str, str]) -> str:
    """The secret of a target, wherever it is kept; empty where it has none.

    Raises ConfigError, without a word of it, for a file that cannot be read and a variable that is not set.
    """
    name = "secret" if isinstance(section, WebhookTarget) else "password"
    plain, file, variable = (getattr(section, f"{name}{where}") for where in ("", "_file", "_env"))
    if variable is not None:
        if not env.get(variable):
            raise ConfigError(f"{name}_env: the environment variable {variable} is not set")
        return env[variable]
    if file is not None:
        return _content(file, f"{name}_file")
    return str(plain.get_secret_value()) if plain is not None else ""


def _content(file: Path, name: str) -> str:
    try:
        return secretfile.content(file, most=_MAX_SECRET_BYTES, what="a secret")
    except ValueError as error:
        raise ConfigError(f"{name}: {file} {error}") from error


def _refusal(host: str) -> str:
    """What is against an address that stands in the configuration itself; a name is resolved when it is called."""
    try:
        ip_address(host)
    except ValueError:
        return ""
    return refusal(host)


def _only_one(section: Section, name: str) -> None:
    if sum(getattr(section, f"{name}{where}") is not None for where in ("", "_file", "_env")) > 1:
        raise wrong(f"`{name}`, `{name}_file` and `{name}_env` say the same thing; use one of them")
