"""Django with django-oauth-toolkit at the addresses that Entra has, behind TLS, on a free port.

usage: python server.py SETTINGS.json     prints its origin on one line and serves until it is killed;
                                          keeps its database beside the settings
"""

import json
import socketserver
import ssl
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import include, path
from jwcrypto.jwk import JWK

wanted = json.loads(Path(sys.argv[1]).read_text())
# The caller's, who also clears it away.
folder = Path(sys.argv[1]).parent
apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"]

LOGIN = '<form method="post" action="/login">{% csrf_token %}{{ form }}<input type="hidden" name="next" value="{{ next }}"></form>'


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def setup_environ(self):
        super().setup_environ()
        self.base_environ["HTTPS"] = "on"

    def get_request(self):
        """The handshake is left to the thread of the connection: who sends nothing holds up nobody."""
        connection, address = super().get_request()
        return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
(folder / "tls.pem").write_text(wanted["tls"]["certificate"] + wanted["tls"]["key"])
tls.load_cert_chain(folder / "tls.pem")
server = Server(("127.0.0.1", 0), Quiet)
origin = f"https://localhost:{server.server_port}"
issuer = f"{origin}/{wanted['tenant']}/v2.0"

settings.configure(
    ALLOWED_HOSTS=["localhost"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": folder / "db.sqlite3",
            "OPTIONS": {"timeout": 60},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=apps,
    LOGIN_URL="/login",
    MIDDLEWARE=[
        # Says how long each answer is.
        "django.middleware.common.CommonMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    OAUTH2_PROVIDER={
        "OAUTH2_VALIDATOR_CLASS": "__main__.Validator",
        "OIDC_ENABLED": True,
        "OIDC_ISS_ENDPOINT": issuer,
        "OIDC_RSA_PRIVATE_KEY": JWK.generate(kty="RSA", size=2048)
        .export_to_pem(private_key=True, password=None)
        .decode(),
        # A refresh token that comes twice ends the whole family.
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "SCOPES": {
            name: name
            for name in ["openid", "profile", "offline_access", wanted["scope"]]
        },
    },
    # The tables at once, without their history.
    MIGRATION_MODULES={app.rsplit(".")[-1]: None for app in apps},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF="__main__",
    SECRET_KEY="of this test only",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"login.html": LOGIN}),
                    "django.template.loaders.app_directories.Loader",
                ],
            },
        }
    ],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from oauth2_provider import views  # noqa: E402
from oauth2_provider.models import Application  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402


class Validator(OAuth2Validator):
    oidc_claim_scope = None

    def get_additional_claims(self, request):
        return {
            "tid": wanted["tenant"],
            "oid": wanted["user"],
            "preferred_username": request.user.username,
            "name": "Ben",
        }


# The toolkit's own views, at Entra's paths.
provider = [
    path("oauth2/v2.0/authorize", views.AuthorizationView.as_view(), name="authorize"),
    path("oauth2/v2.0/token", views.TokenView.as_view(), name="token"),
    path("v2.0/userinfo", views.UserInfoView.as_view(), name="user-info"),
    path("discovery/v2.0/keys", views.JwksInfoView.as_view(), name="jwks-info"),
    path(
        "v2.0/.well-known/openid-configuration",
        views.ConnectDiscoveryInfoView.as_view(),
        name="oidc-connect-discovery-info",
    ),
    path("logout", lambda _: JsonResponse({}), name="rp-initiated-logout"),
]
urlpatterns = [
    path("login", LoginView.as_view(template_name="login.html")),
    path(f"{wanted['tenant']}/", include((provider, "oauth2_provider"))),
]

call_command("migrate", verbosity=0, run_syncdb=True)
User.objects.create_user("ben", password=wanted["password"])
common = {
    "client_type": Application.CLIENT_CONFIDENTIAL,
    "client_secret": wanted["secret"],
    "algorithm": Application.RS256_ALGORITHM,
}
Application.objects.create(
    client_id=wanted["application"],
    authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    **common,
)
Application.objects.create(
    client_id=wanted["web_application"],
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    redirect_uris=wanted["redirect_uri"],
    **common,
)

server.set_app(get_wsgi_application())
print(origin, flush=True)
server.serve_forever()
