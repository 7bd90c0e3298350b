import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.delivery.payloads import build_headers, make_secret


def test_the_standardwebhooks_package_accepts_the_signature() -> None:
    secret, body = make_secret(), '{"name": "é"}'.encode()
    headers = build_headers("message", body, int(time.time()), secret)
    Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(body, headers)


def test_the_example_of_the_specification_has_its_signature() -> None:
    # https://github.com/standard-webhooks/standard-webhooks: the vector of the reference libraries' tests
    headers = build_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_binary_body_is_signed() -> None:
    secret, body = make_secret(), bytes(range(256))
    headers = build_headers("message", body, 1700000000, secret)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, b"message.1700000000." + body, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_the_only_header_is_the_id() -> None:
    assert build_headers("message", b"", 0, None) == {"webhook-id": "message"}


def test_a_secret_has_256_random_bits() -> None:
    first, second = make_secret(), make_secret()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"))) == 32
