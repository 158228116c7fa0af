"""WWW-Authenticate is read by its grammar."""

import time

import httpx2
import pytest

from mcp_notebook.auth.challenge import bearer_challenge, parse


def read(*fields):
    return bearer_challenge(httpx2.Headers([("www-authenticate", field) for field in fields]))


DECOY = r'Bearer error_description="scope=\"evil\", resource_metadata=\"https://evil\""'
GOOD = "https://mcp.example.com/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("field", "address", "scope"),
    [
        (f'Bearer resource_metadata="{GOOD}", scope="a b"', GOOD, "a b"),
        # a longer name that ends like ours
        (f'Bearer x_scope="evil", resource_metadata="{GOOD}"', GOOD, None),
        ('Bearer x-resource_metadata="https://evil.example"', None, None),
        # a decoy inside a quoted string
        (
            DECOY + f', resource_metadata="{GOOD}"',
            GOOD,
            None,
        ),
        ("Bearer error_description=\"say scope='evil' and scope=evil\", scope=good", None, "good"),
        # another scheme's parameters
        (f'Basic realm="x", scope="evil", Bearer resource_metadata="{GOOD}"', GOOD, None),
        ('Bearer scope="good", Basic scope="evil", realm="y"', None, "good"),
        # names and scheme in any case
        (f'BEARER Resource_Metadata="{GOOD}", SCOPE="x"', GOOD, "x"),
        # spaces around the equals sign
        (f'Bearer scope = "a" ,resource_metadata\t=\t"{GOOD}"', GOOD, "a"),
        # quoted pairs
        (r'Bearer scope="a\ b"', None, "a b"),
        # an empty value
        (f'Bearer scope="", resource_metadata="{GOOD}"', GOOD, None),
        (f"Bearer scope=, resource_metadata={GOOD}", GOOD, None),
        # credentials of another scheme (token68)
        (f'Negotiate YWJj==, Bearer resource_metadata="{GOOD}"', GOOD, None),
        ('Basic, Bearer scope="a"', None, "a"),
        # the first of two of a name; commas left out; an open quote; nonsense between
        ('Bearer scope="first", scope="second"', None, "first"),
        (f'Bearer error="x" resource_metadata="{GOOD}"', GOOD, None),
        ('Bearer scope="good", resource_metadata="https://evil', None, "good"),
        ('Bearer scope="good", (nonsense) = "scope=evil", error=x', None, "good"),
    ],
)
def test_only_a_parameter_of_the_challenge_counts(field, address, scope):
    challenge = read(field)
    assert challenge.resource_metadata == address
    assert challenge.scope == scope


@pytest.mark.parametrize(
    "field",
    ["Basic realm=x", 'Basic realm="Bearer scope=x"', "", "Bearerish scope=x", 'Digest bearer="x"'],
)
def test_another_scheme_is_no_challenge_of_ours(field):
    assert read(field) is None


def test_no_field_is_no_challenge():
    assert bearer_challenge(httpx2.Headers()) is None


def test_several_fields_are_one_list():
    challenge = read("Basic realm=x", f'Bearer resource_metadata="{GOOD}"')
    assert challenge.resource_metadata == GOOD


def test_a_challenge_with_an_error_comes_first_and_takes_the_address_from_its_sibling():
    challenge = read(
        f'Bearer resource_metadata="{GOOD}", scope="a"', 'DPoP error="use_dpop_nonce", algs="ES256"'
    )
    assert challenge.scheme == "dpop"
    assert challenge.error == "use_dpop_nonce"
    assert challenge.resource_metadata == GOOD
    assert challenge.scope == "a"
    assert challenge.parameters["algs"] == "ES256"


def test_a_bare_scheme_is_a_challenge():
    assert read("Bearer").scheme == "bearer"


@pytest.mark.parametrize(
    "text", ['Bearer a="' * 4000, "Bearer " + "a=," * 20000, "\\" * 50000, '"' * 50001, "=" * 50000]
)
def test_a_hostile_field_is_read_in_no_time(text):
    before = time.perf_counter()
    parse(text)
    assert time.perf_counter() - before < 1


def test_a_field_is_read_up_to_its_limit():
    assert {scheme for scheme, _ in parse("Basic x, " * 2000 + "Bearer scope=late")} == {"basic"}
