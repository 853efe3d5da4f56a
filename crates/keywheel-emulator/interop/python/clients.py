"""Signs in with MSAL for Python and azure-identity, unmodified, against the emulator.

Reads AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_AUTHORITY_HOST,
KEYWHEEL_GRAPH_ENDPOINT, and REQUESTS_CA_BUNDLE as the libraries themselves do. Prints a line for each thing that
worked, and fails at the first that did not.
"""

import html.parser
import os
import re
import urllib.parse

import azure.core.exceptions
import azure.identity
import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

TENANT = os.environ["AZURE_TENANT_ID"]
CLIENT = os.environ["AZURE_CLIENT_ID"]
SECRET = os.environ["AZURE_CLIENT_SECRET"]
CERTIFICATE = os.environ["AZURE_CLIENT_CERTIFICATE_PATH"]
HOST = os.environ["AZURE_AUTHORITY_HOST"]
GRAPH = os.environ["KEYWHEEL_GRAPH_ENDPOINT"]
SCOPES = ["https://graph.microsoft.com/.default"]
REDIRECT = "http://localhost:5000/callback"


def application(credential):
    # A fresh client for each case: MSAL remembers refusals for a minute.
    return msal.ConfidentialClientApplication(
        CLIENT,
        authority=f"{HOST}/{TENANT}",
        client_credential=credential,
        instance_discovery=False,
    )


def token(result):
    assert "access_token" in result, result
    return result["access_token"]


def read_own_application(access_token):
    answer = requests.get(
        f"{GRAPH}/v1.0/applications(appId='{CLIENT}')",
        headers={"Authorization": f"Bearer {access_token}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["appId"] == CLIENT


def certificate():
    with open(CERTIFICATE, encoding="ascii") as file:
        text = file.read()
    blocks = re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", text, re.DOTALL)
    public = next(block for block in blocks if "CERTIFICATE" in block)
    private = next(block for block in blocks if "PRIVATE KEY" in block)
    return public, private


class Form(html.parser.HTMLParser):
    """Finds the form of a page: where it goes, and its hidden fields."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields = None, {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.action = attrs["action"]
        if tag == "input" and attrs.get("type") == "hidden":
            self.fields[attrs["name"]] = attrs["value"]


def sign_in(url):
    """Goes through the pages as a person with a browser does; returns the query of the redirect."""
    session = requests.Session()
    page = session.get(url, timeout=10)
    form = Form(page.text)
    fields = {"login": "ada@contoso.example", "passwd": "ada's password", "action": "signin"}
    page = session.post(urllib.parse.urljoin(HOST, form.action), data={**form.fields, **fields}, timeout=10)
    form = Form(page.text)
    assert "Permissions requested" in page.text, page.text
    page = session.post(
        urllib.parse.urljoin(HOST, form.action),
        data={**form.fields, "action": "accept"},
        allow_redirects=False,
        timeout=10,
    )
    location = urllib.parse.urlparse(page.headers["Location"])
    return {name: values[0] for name, values in urllib.parse.parse_qs(location.query).items()}


def msal_secret():
    read_own_application(token(application(SECRET).acquire_token_for_client(SCOPES)))


def msal_wrong_secret():
    result = application("wrong").acquire_token_for_client(SCOPES)
    assert result["error"] == "invalid_client" and result["error_codes"] == [7000215], result


def msal_certificate_sha1():
    public, private = certificate()
    thumbprint = x509.load_pem_x509_certificate(public.encode()).fingerprint(hashes.SHA1()).hex()
    credential = {"private_key": private, "thumbprint": thumbprint}
    token(application(credential).acquire_token_for_client(SCOPES))


def msal_certificate_sha256():
    public, private = certificate()
    key = serialization.load_pem_private_key(private.encode(), None)
    archive = pkcs12.serialize_key_and_certificates(
        b"client",
        key,
        x509.load_pem_x509_certificate(public.encode()),
        None,
        serialization.BestAvailableEncryption(b"password"),
    )
    path = f"{CERTIFICATE}.pfx"
    with open(path, "wb") as file:
        file.write(archive)
    credential = {"private_key_pfx_path": path, "passphrase": "password"}
    token(application(credential).acquire_token_for_client(SCOPES))


def msal_user():
    client = application(SECRET)
    flow = client.initiate_auth_code_flow(["User.Read"], redirect_uri=REDIRECT)
    result = client.acquire_token_by_auth_code_flow(flow, sign_in(flow["auth_uri"]))
    token(result)
    assert result["id_token_claims"]["preferred_username"] == "ada@contoso.example", result
    account = client.get_accounts()[0]
    refreshed = client.acquire_token_silent(["User.Read"], account, force_refresh=True)
    assert refreshed["token_source"] == "identity_provider", refreshed
    me = requests.get(
        f"{GRAPH}/v1.0/me", headers={"Authorization": f"Bearer {token(refreshed)}"}, timeout=10
    )
    assert me.json()["userPrincipalName"] == "ada@contoso.example", me.text


def azure_identity_secret():
    credential = azure.identity.ClientSecretCredential(TENANT, CLIENT, SECRET, disable_instance_discovery=True)
    read_own_application(credential.get_token(*SCOPES).token)


def azure_identity_certificate():
    credential = azure.identity.CertificateCredential(TENANT, CLIENT, CERTIFICATE, disable_instance_discovery=True)
    read_own_application(credential.get_token(*SCOPES).token)


def azure_identity_wrong_secret():
    credential = azure.identity.ClientSecretCredential(TENANT, CLIENT, "wrong", disable_instance_discovery=True)
    try:
        credential.get_token(*SCOPES)
    except azure.core.exceptions.ClientAuthenticationError as error:
        assert "AADSTS7000215" in str(error), error
        return
    raise AssertionError("a wrong secret was taken")


for case in [
    msal_secret,
    msal_wrong_secret,
    msal_certificate_sha1,
    msal_certificate_sha256,
    msal_user,
    azure_identity_secret,
    azure_identity_certificate,
    azure_identity_wrong_secret,
]:
    case()
    print(case.__name__, "ok")
