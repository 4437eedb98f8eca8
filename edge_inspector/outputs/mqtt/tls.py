"""TLS to a broker: the certificates that are used, and what each failure means in words that say what to do."""

from __future__ import annotations

import select
import ssl
from collections.abc import Mapping
from pathlib import Path

from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt.config import Tls

LISTEN_S = 0.3
"""How long a broker has to say so; most send a session ticket at once, which ends the wait."""
_OURS = "tls.cert_file"
_VERIFY: Mapping[int, str] = {  # X509_V_ERR_* of OpenSSL's x509_vfy.h
    9: "it is not valid yet: check this machine's clock, and the broker's certificate",
    10: "it has expired: the broker needs a new one, if this machine's clock is right",
    18: "it is signed by itself: name it in tls.ca_file if it is the right one",
    19: "its authority is not trusted: check tls.ca_file",
    20: "its authority is not known here: check tls.ca_file",
    21: "its authority is not known here: check tls.ca_file; does the broker send its whole chain?",
    23: "it was revoked: the broker needs a new one",
    26: "it is not meant for a server: the broker needs another one",
    62: "host is no name in it: check host",
    64: "host is no address in it: check host",
    79: "tls.ca_file is no certificate of an authority",
}
_SAID: Mapping[str, str] = {  # the end of ssl.SSLError.reason: TLS alerts that a broker sends, and OpenSSL's own words
    "CERTIFICATE_REQUIRED": f"the broker asks for a certificate: give {_OURS} and tls.key_file",
    "ALERT_UNKNOWN_CA": f"the broker does not know the authority of {_OURS}",
    "ALERT_CERTIFICATE_EXPIRED": f"{_OURS} has expired",
    "ALERT_CERTIFICATE_REVOKED": f"{_OURS} was revoked",
    "ALERT_CERTIFICATE_UNKNOWN": f"the broker does not accept {_OURS}",
    "ALERT_BAD_CERTIFICATE": f"the broker does not accept {_OURS}",
    "UNSUPPORTED_CERTIFICATE": f"the broker cannot use {_OURS}: is it meant for a client?",
    "ALERT_ACCESS_DENIED": f"the broker does not let {_OURS} in",
    "DECRYPT_ERROR": f"tls.key_file is not the key of {_OURS}, or the broker's is not its own",
    "ALERT_HANDSHAKE_FAILURE": f"the broker ended the handshake: does it want {_OURS}, or other ciphers?",
    "UNSUPPORTED_PROTOCOL": "the broker has nothing newer than TLS 1.1, expected TLS 1.2",
    "PROTOCOL_VERSION": "the broker has nothing newer than TLS 1.1, expected TLS 1.2",
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS: check port",
    "RECORD_LAYER_FAILURE": "what answers there does not speak TLS: check port",
    "HTTP_REQUEST": "what answers there speaks HTTP: check port",
    "UNRECOGNIZED_NAME": "the broker has no certificate for host: check host",
    "EOF_OCCURRED_IN_VIOLATION_OF_PROTOCOL": "it hung up in the handshake: is this its TLS port?",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up in the handshake: is this its TLS port?",
}
_LOCKED = "tls.key_file is encrypted: a station that starts by itself needs a key without a password"
_FILES: Mapping[str, str] = {  # the end of ssl.SSLError.reason while the files are read
    "KEY_VALUES_MISMATCH": "tls.key_file is not the key of tls.cert_file",
    "NO_CERTIFICATE_OR_CRL_FOUND": "tls.ca_file holds no certificate in PEM form",
    "PEM_LIB": "expected certificates and a key in PEM form",
    "NO_START_LINE": "expected certificates and a key in PEM form",
    "EE_KEY_TOO_SMALL": "the key of tls.cert_file is too short: make one of 2048 bits or more",
}


class TlsContext(ssl.SSLContext):
    """Of one connection; `said` is what TLS said last, which paho only logs."""

    said: ssl.SSLError | None = None


class TlsSocket(ssl.SSLSocket):
    """Notes what TLS says, and closes itself when the handshake fails: paho 2.2 leaves it to the garbage collector."""

    context: TlsContext

    def do_handshake(self, block: bool = False) -> None:
        """With TLS 1.3 a broker tells only after the handshake that it does not like our certificate.

        It then hangs up, and a CONNECT that is on its way would lose what it said: so listen first.
        """
        try:
            super().do_handshake(block)
            if self.version() == "TLSv1.3" and select.select([self], [], [], LISTEN_S)[0]:
                self._listen()
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            self.context.said = exc
            raise

    def _listen(self) -> None:
        """Take in session tickets or an alert; MQTT itself has nothing to say yet."""
        timeout_s = self.gettimeout()
        self.setblocking(False)
        try:
            super().recv(1)
        except ssl.SSLWantReadError:
            pass
        finally:
            self.settimeout(timeout_s)


def tls_context(name: str, tls: Tls) -> TlsContext:
    """The files as they are now. OutputError: one of them cannot be used; `name` says whose they are."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)  # a certificate is required, and its name is checked
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = TlsSocket
    try:
        if tls.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(tls.ca_file)
        if tls.cert_file is not None:
            # An empty password: a key that wants one is an error, not a question at a terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as exc:  # ssl.SSLError is one
        files = ", ".join(str(f) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f is not None)
        why = _LOCKED if _is_encrypted(tls.key_file) else _by_end(f"{getattr(exc, 'reason', '')} {exc}", _FILES)
        raise OutputError(f"{name}: certificate files {files} cannot be used: {why or exc}") from exc
    return context


def _is_encrypted(key_file: Path | None) -> bool:
    try:
        return key_file is not None and b"ENCRYPTED" in key_file.read_bytes()
    except OSError:
        return False


def handshake_failed(name: str, error: ssl.SSLError) -> OutputError:
    """The error of a handshake, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _VERIFY.get(error.verify_code, "check tls.ca_file, and that host is a name in it")
        return OutputError(f"{name}: the broker's certificate is not accepted: {error.verify_message}; {why}")
    return OutputError(f"{name}: no TLS: {said(error)}")


def said(error: ssl.SSLError) -> str:
    """What TLS said, ours or the broker's, and what it means where that is known."""
    meaning = _by_end(error.reason or str(error.args[-1]), _SAID)
    told = error.reason or error
    return f"{told}; {meaning}" if meaning else f"{told}; is this the broker's TLS port, and does it want {_OURS}?"


def _by_end(reason: str, table: Mapping[str, str]) -> str:
    words = reason.upper().replace(" ", "_")
    return next((meaning for end, meaning in table.items() if end in words), "")
