"""The text of each email about an account, in Jinja. A value that is not known is left out.

The layout adds `at`, `device`, `place` and `address` to every notice.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class EmailTemplate:
    """What happened, and what to do if it is a surprise; `page` is where the link leads, if there is one."""

    subject: str
    body: str
    footer: str
    page: str | None = None
    link_text: str | None = None
    # Whether the link carries a token; one without leads to a page, or to what `invoice_url` names.
    has_token: bool = True


IGNORE = "If you did not request this, you can ignore this email."
# Where somebody else may have the password: a reset ends all sessions.
IF_NOT_YOU = (
    "If this was not you, somebody else has access to your account. Reset your password now"
    " (“Forgot password” on the sign-in page): this signs out every device. Then check your second factors."
)
WITH_REASON = "{% if reason %}: “{{ reason }}”{% endif %}"
FOR_TEAM = "{% if tenant_name %} for “{{ tenant_name }}”{% endif %}"
FOR_COMPANY = "{% if company %} for “{{ company }}”{% endif %}"
TEAM = "{% if tenant_name %}“{{ tenant_name }}”{% else %}a team{% endif %}"
A_FACTOR = "A second factor{% if factor %} ({{ factor }}){% endif %}"

TEMPLATES = {
    "email_verification": EmailTemplate(
        "Confirm your email address",
        f"Please confirm your email address{FOR_TEAM}.",
        IGNORE,
        page="verify-email",
        link_text="Confirm email address",
    ),
    "password_reset": EmailTemplate(
        "Reset your password",
        "We received a request to reset the password of your account. Use this link to set a new one.",
        "If you did not request this, ignore this email: your password stays the same.",
        page="reset-password",
        link_text="Reset password",
    ),
    "email_change": EmailTemplate(
        "Confirm your new email address",
        "Please confirm that your account should use this email address from now on.",
        IGNORE,
        page="confirm-email-change",
        link_text="Use this address",
    ),
    "magic_link": EmailTemplate(
        "Your sign-in link",
        "Use this link to sign in. It works once, and only in the browser in which you requested it.",
        "If you did not request this, ignore this email. Never forward it: it signs in to your account.",
        page="magic-link",
        link_text="Sign in",
    ),
    "second_factors_reset": EmailTemplate(
        "Your second factors were reset",
        f"An administrator of {TEAM} removed the second factors of your account. You were signed out on every"
        " device, and your password no longer works. Set a new password with this link, sign in,"
        " and set up a second factor again.",
        "When the link has expired, use “Forgot password” on the sign-in page to get another."
        " If you did not ask an administrator for this, set a new password anyway"
        " and ask an owner of the team.",
        page="reset-password",
        link_text="Set a new password",
    ),
    "password_changed": EmailTemplate(
        "Your password was changed",
        "The password of your account was changed. Every other device was signed out.",
        IF_NOT_YOU,
    ),
    "email_changed": EmailTemplate(
        "Your email address was changed",
        "The email address of your account was changed{% if new_email_masked %} to {{ new_email_masked }}"
        "{% endif %}. We no longer send email to this address.",
        "If this was not you, somebody else controls your account and could receive a password reset:"
        " contact our support from this address immediately.",
    ),
    "sign_in_blocked": EmailTemplate(
        "Sign-in temporarily blocked",
        "There were too many attempts to sign in to your account with a wrong password or code."
        " Signing in this way is blocked for a while.",
        "If this was not you: none of the attempts succeeded. Reset your password in case somebody knows it.",
    ),
    "new_device": EmailTemplate(
        "New sign-in to your account",
        "Somebody signed in to your account from a device that we had not seen before.",
        IF_NOT_YOU,
    ),
    "impossible_travel": EmailTemplate(
        "Sign-in from an unusual location",
        "Somebody signed in to your account from a place that is too far from the previous sign-in"
        "{% if place_before %} ({{ place_before }}){% endif %} to have travelled there in between."
        " Locations are estimated from IP addresses: if you use a VPN, this may be you.",
        IF_NOT_YOU,
    ),
    "attack_seen": EmailTemplate(
        "Attack on sign-in detected",
        "We detected {% if attack %}{{ attack }}{% else %}an unusual number of failed sign-ins{% endif %}."
        " Accounts and addresses with too many failures are blocked for a while."
        " The audit log lists the attempts.",
        "We send this email at most once a day; the audit log and the metrics show what happens meanwhile."
        " If the attack goes on, block the networks that it comes from in front of this service.",
    ),
    "session_stolen": EmailTemplate(
        "One of your sessions was ended",
        "A refresh token of one of your sessions was used twice, so somebody may have copied it."
        " We ended that session. Sign in again where you need it.",
        "If you do not know why, check your devices for software that you do not trust,"
        " and change your password.",
    ),
    "second_factor_added": EmailTemplate(
        "A second factor was added",
        f"{A_FACTOR} was added to your account.",
        IF_NOT_YOU,
    ),
    "second_factor_removed": EmailTemplate(
        "A second factor was removed",
        f"{A_FACTOR} was removed from your account.",
        IF_NOT_YOU,
    ),
    "recovery_code_used": EmailTemplate(
        "A recovery code was used",
        "A recovery code was used to sign in to your account."
        "{% if left %} You have {{ left }} left.{% endif %}"
        " Generate new ones before you run out.",
        IF_NOT_YOU,
    ),
    "recovery_codes_renewed": EmailTemplate(
        "New recovery codes were generated",
        "New recovery codes were generated for your account. The previous ones no longer work.",
        IF_NOT_YOU,
    ),
    "access_requested": EmailTemplate(
        "New access request",
        "{% if applicant %}{{ applicant }}{% else %}Somebody{% endif %}"
        "{% if company %} of “{{ company }}”{% endif %} requests access. Approve or reject the request.",
        "Approve only people whom you know. Nobody gets access while the request is pending.",
    ),
    "access_approved": EmailTemplate(
        "Your access request was approved",
        f"Your access request{FOR_COMPANY} was approved. Use this link to continue.",
        IGNORE,
        page="invitation",
        link_text="Continue",
    ),
    "access_rejected": EmailTemplate(
        "Your access request was rejected",
        f"Your access request{FOR_COMPANY} was rejected{WITH_REASON}.",
        IGNORE,
    ),
    "account_closing": EmailTemplate(
        "Your account will be deleted",
        "Your account was closed by somebody who knows your password, and every device was signed out."
        " It will be deleted{% if expires_at %} on {{ expires_at }}{% endif %}."
        " Until then, you can restore it.",
        "If this was not you, restore your account and reset your password.",
        page="restore-account",
        link_text="Restore account",
    ),
    "account_exists": EmailTemplate(
        "You already have an account",
        "Somebody, probably you, tried to sign up with this email address. It already has an account: sign in"
        " with it. If you do not know the password, set a new one (“Forgot password” on the sign-in page).",
        "If this was not you, you can ignore this email: nothing has changed.",
    ),
    "account_restored": EmailTemplate(
        "Your account was restored",
        "Your account was restored with the link from our email and will not be deleted."
        " You can sign in as before. API keys that you created no longer work.",
        IF_NOT_YOU,
    ),
    "account_deleted": EmailTemplate(
        "Your account was deleted",
        "Your account was deleted, with your name and your email address. This is our last email to you.",
        "If this was not you, contact our support from this address immediately.",
    ),
}
