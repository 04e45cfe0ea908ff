"""Names of parameters that carry secrets: they are never the model's to fill in."""

NAMES = {
    "accesstoken",
    "apikey",
    "apitoken",
    "auth",
    "authorization",
    "authtoken",
    "bearer",
    "clientsecret",
    "cookie",
    "csrftoken",
    "idtoken",
    "passwd",
    "password",
    "privatekey",
    "proxyauthorization",
    "refreshtoken",
    "secret",
    "secretkey",
    "sessionid",
    "setcookie",
    "subscriptionkey",
    "xsignature",
}
ENDINGS = ("apikey", "authtoken", "accesstoken", "secretkey", "subscriptionkey", "clientsecret")


def is_secret(location: str, name: str) -> bool:
    """Return whether a parameter carries a secret, by its name."""
    if location not in {"query", "header", "body", "cookie"}:
        return False
    plain = "".join(filter(str.isalnum, name)).lower()
    return plain in NAMES or plain.endswith(ENDINGS)
