import pytest

from loco.errors import InputError
from loco.urls import masked, masked_all, name_of, secret

CANARY = "c4nary"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql+psycopg://me:{CANARY}@server/loco", "postgresql+psycopg://me:***@server/loco"),
        (
            f"postgresql://me:{CANARY}@host:5432/db?sslmode=require",
            "postgresql://me:***@host:5432/db?sslmode=require",
        ),
        (f"postgresql://me:p/{CANARY}@x'y@host/db", "postgresql://me:***@host/db"),
        (f"postgresql://me@host/db?password={CANARY}", "postgresql://me@host/db?password=***"),
        (f"postgresql://:{CANARY}@host/db", "postgresql://:***@host/db"),
        (f"s3://key:{CANARY}@bucket/a", "s3://key:***@bucket/a"),
        (f"sftp://me:{CANARY}@host/a b", "sftp://me:***@host/a b"),
        (f"https://{CANARY}@host/a.png", "https://***@host/a.png"),
        (
            f"https://h/a.png?X-Amz-Credential={CANARY}&X-Amz-Signature={CANARY}&w=5",
            "https://h/a.png?X-Amz-Credential=***&X-Amz-Signature=***&w=5",
        ),
        (f"https://h/a.png?sv=1;sig={CANARY}", "https://h/a.png?sv=***;sig=***"),
        (f"https://h/my pic.png?sig={CANARY}&w=5", "https://h/my pic.png?sig=***&w=5"),
        (f"https://h/it's.png?X-Amz-Signature={CANARY}", "https://h/it's.png?X-Amz-Signature=***"),
        (f"https://me:p/{CANARY}@host/a.png", "https://me:***@host/a.png"),
        (f'https://h/a.png?sig="{CANARY}"', "https://h/a.png?sig=***"),
        (f"https://h/a.png?{CANARY}", "https://h/a.png?***"),
        (f"https://h/a.png#{CANARY}", "https://h/a.png#***"),
        (f"https://h/a#access_token={CANARY}", "https://h/a#access_token=***"),
        (f"cannot read 'https://h/a?t={CANARY}': no", "cannot read 'https://h/a?t=***': no"),
        (f"http://a:{CANARY}@b/c and http://d:{CANARY}@e/f", "http://a:***@b/c and http://d:***@e/f"),
    ],
)
def test_credentials_are_hidden_and_nothing_else(url, shown):
    assert masked(url) == shown
    assert secret(url)
    assert masked(shown) == shown
    assert str(InputError(f"found {url}")) == f"found {shown}"
    assert masked_all({"a": [url, 3], url: (url,)}) == {"a": [shown, 3], shown: (shown,)}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://me@server/loco",
        "s3://bucket/prefix",
        "file:///tmp/a@b:c",
        "http://host:8080/a@b.png",
        "http://[::1]:8080/a@b.png",
        "a@b smile@prod 10:30",
        "",
    ],
)
def test_what_has_no_credentials_stays_as_it_is(text):
    assert masked(text) == text
    assert not secret(text)


def test_the_name_of_a_url_tells_no_secret():
    assert name_of(f"https://me:{CANARY}@host/a/b.png?sig={CANARY}#x") == "host/a/b.png"
    assert name_of("s3://bucket/a.png") == "bucket/a.png"
