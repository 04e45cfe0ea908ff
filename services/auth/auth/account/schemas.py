"""What goes over the wire about one's own account."""

from servicekit.wire import Body

from auth.addresses import Email
from auth.schemas import NewPassword, OpaqueToken, Password


class ForgottenPassword(Body):
    """Where to send the mail with which a new password can be set."""

    email: Email


class PasswordReset(Body):
    """The token of that mail, and the new password."""

    token: OpaqueToken
    password: NewPassword


class PasswordChange(Body):
    """The present password, and the new one."""

    current_password: Password
    new_password: NewPassword
