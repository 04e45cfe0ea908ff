"""What our mails say: one letter of each kind, in Jinja. What is not known of a matter is left out.

`at`, `device` and `place` of a notice are told by the layout.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class EmailTemplate:
    """What a mail says, and what to do if it was not you; `page` is where its link leads, if it has one."""

    subject: str
    body: str
    footer: str
    page: str | None = None
    link_text: str | None = None


IGNORE = "If you did not ask for this, ignore this mail: nothing will happen."
# Where somebody else may have the password: resetting it ends all sessions.
IF_NOT_YOU = (
    "If this was not you, somebody else has been in your account: reset your password at once"
    " (“forgotten password” where you sign in), which signs everybody out, and look at your second factors."
)
ASK_OWNER = "If this surprises you, ask an owner of the team."
AS_ROLE = "{% if role %} as {{ role }}{% endif %}"
BECAUSE = "{% if reason %}: “{{ reason }}”{% endif %}"
NOW_ROLE = "{% if role %}: you are now {{ role }}{% endif %}"
FOR_TEAM = "{% if tenant_name %} for “{{ tenant_name }}”{% endif %}"
FOR_COMPANY = "{% if company %} for “{{ company }}”{% endif %}"
TEAM = "{% if tenant_name %}“{{ tenant_name }}”{% else %}a team{% endif %}"
KEY = (
    "the API key{% if key_name %} “{{ key_name }}”{% endif %}"
    "{% if tenant_name %} in “{{ tenant_name }}”{% endif %}"
)
BY_ACTOR = "{% if actor %} by {{ actor }}{% endif %}"
MEMBER = "{% if member %}{{ member }}{% else %}somebody{% endif %}"

TEMPLATES = {
    "email_verification": EmailTemplate(
        "Confirm your e-mail address",
        f"please confirm that this is your e-mail address{FOR_TEAM}:",
        IGNORE,
        page="verify-email",
        link_text="Confirm this address",
    ),
    "password_reset": EmailTemplate(
        "Reset your password",
        "somebody, probably you, has asked to set a new password for your account. Here you can do so:",
        "If it was not you, ignore this mail: your password stays as it is.",
        page="reset-password",
        link_text="Set a new password",
    ),
    "email_change": EmailTemplate(
        "Confirm your new e-mail address",
        "please confirm that your account is to use this address from now on:",
        IGNORE,
        page="confirm-email-change",
        link_text="Use this address",
    ),
    "magic_link": EmailTemplate(
        "Your link to sign in",
        "here you can sign in, once, in the browser in which you have asked for it:",
        "If you did not ask for this, ignore this mail, and never pass it on: who follows the link is you.",
        page="magic-link",
        link_text="Sign in",
    ),
    "invitation": EmailTemplate(
        "You are invited",
        "{% if inviter %}{{ inviter }} invites you{% else %}you are invited{% endif %} to join "
        f"{TEAM}{AS_ROLE}. Here you can accept:",
        "If you do not know who invites you, ignore this mail: nothing will happen.",
        page="invitation",
        link_text="See the invitation",
    ),
    "second_factors_reset": EmailTemplate(
        "Your second factors were reset",
        f"an administrator of {TEAM} has removed the second factors of your account, and you were signed out"
        " everywhere. Nobody comes in with the password that you had. Set a new one here, sign in with it,"
        " and set up a second factor again:",
        "When it is over, ask for another link by “forgotten password” where you sign in."
        " If you have not asked an administrator for this, set a password all the same,"
        " and ask an owner of the team.",
        page="reset-password",
        link_text="Set a new password",
    ),
    "password_changed": EmailTemplate(
        "Your password was changed",
        "the password of your account was changed, and you were signed out everywhere else.",
        IF_NOT_YOU,
    ),
    "email_changed": EmailTemplate(
        "Your e-mail address was changed",
        "your account now uses another address{% if new_email_masked %}, {{ new_email_masked }}{% endif %};"
        " mail no longer comes here.",
        "If this was not you, somebody else has been in your account, and a new password would be theirs:"
        " write to our support from this address at once.",
    ),
    "sign_in_blocked": EmailTemplate(
        "Signing in was blocked",
        "somebody has tried too often to sign in to your account, with wrong passwords or codes:"
        " for a while, that way is closed.",
        "If this was not you: nobody has come in that way. Reset your password, in case somebody knows it.",
    ),
    "new_device": EmailTemplate(
        "Somebody signed in from a new device",
        "your account was just entered from a device that we had not seen before.",
        IF_NOT_YOU,
    ),
    "impossible_travel": EmailTemplate(
        "Somebody signed in far from where you were",
        "your account was just entered from a place that is too far from where you last signed in"
        "{% if place_before %}, {{ place_before }},{% endif %} for one person to have been at both."
        " Where an address is can be told only roughly, and a VPN hides it: if you use one, this may be you.",
        IF_NOT_YOU,
    ),
    "attack_seen": EmailTemplate(
        "Somebody is attacking accounts",
        "{% if attack %}{{ attack }}{% else %}many sign-ins fail{% endif %}, as when passwords are tried out."
        " Accounts and addresses that fail too often are closed for a while by themselves."
        " What was tried, and when, is in the audit log.",
        "This is told at most once a day; the audit log and the metrics go on."
        " If it does not stop, have the networks that it comes from blocked in front of us.",
    ),
    "session_stolen": EmailTemplate(
        "A session of yours was ended",
        "a key to one of your sessions was used a second time, so somebody may have copied it."
        " We have ended that session; sign in again where you need it.",
        "If you do not know why: look for software that you do not trust where you sign in,"
        " and change your password.",
    ),
    "second_factor_added": EmailTemplate(
        "A second factor was added",
        "a second factor{% if factor %}, {{ factor }},{% endif %} was added to your account.",
        IF_NOT_YOU,
    ),
    "second_factor_removed": EmailTemplate(
        "A second factor was removed",
        "a second factor{% if factor %}, {{ factor }},{% endif %} was removed from your account.",
        IF_NOT_YOU,
    ),
    "recovery_code_used": EmailTemplate(
        "A recovery code was used",
        "a recovery code was used to sign in to your account."
        "{% if left %} You have {{ left }} left.{% endif %} Make new ones before you run out of them.",
        IF_NOT_YOU,
    ),
    "recovery_codes_renewed": EmailTemplate(
        "You have new recovery codes",
        "new recovery codes were made for your account; the ones before are void.",
        IF_NOT_YOU,
    ),
    "access_requested": EmailTemplate(
        "Somebody asks for access",
        "{% if applicant %}{{ applicant }}{% else %}somebody{% endif %}"
        "{% if company %} of “{{ company }}”{% endif %} asks for access. The request waits for a decision.",
        "Let nobody in whom you do not know; a request that is left alone lets nobody in either.",
    ),
    "access_approved": EmailTemplate(
        "Your request was approved",
        f"your request for access{FOR_COMPANY} was approved. Here you can go on:",
        "If you never asked for it, ignore this mail: nothing will happen.",
        page="invitation",
        link_text="Go on",
    ),
    "access_rejected": EmailTemplate(
        "Your request was declined",
        f"your request for access{FOR_COMPANY} was declined{BECAUSE}.",
        "If you never asked for it, you need not do anything.",
    ),
    "mfa_required": EmailTemplate(
        "Your team requires a second factor",
        f"{TEAM} now requires a second factor to sign in. If you have set one up, nothing changes for you."
        " If you have not, you will be asked to at your next sign-in; sessions that were begun without one"
        " end within minutes. Have an authenticator app or a passkey at hand.",
        ASK_OWNER,
    ),
    "mfa_optional": EmailTemplate(
        "Your team no longer requires a second factor",
        f"{TEAM} no longer requires a second factor to sign in. Those that members have set up stay.",
        "If you did not expect this, look at the audit log, and ask an owner of the team.",
    ),
    "role_changed": EmailTemplate(
        "Your role was changed",
        f"your role in {TEAM} was changed{NOW_ROLE}.",
        ASK_OWNER,
    ),
    "member_removed": EmailTemplate(
        "You were removed from a team",
        f"you do not belong to {TEAM} any more. Your account remains.",
        ASK_OWNER,
    ),
    "ownership_transferred": EmailTemplate(
        "A team has another owner",
        f"the ownership of {TEAM} was transferred{{% if new_owner %}} to {{{{ new_owner }}}}{{% endif %}}.",
        "If you did not expect this, write to our support at once.",
    ),
    "account_closing": EmailTemplate(
        "Your account is closed",
        "your account was closed, as somebody who knows your password has asked, and you were signed out"
        " everywhere. It is deleted for good{% if expires_at %} on {{ expires_at }}{% endif %}."
        " Until then you can open it again:",
        "If this was not you, open it again, and reset your password.",
        page="restore-account",
        link_text="Keep my account",
    ),
    "account_restored": EmailTemplate(
        "Your account is open again",
        "your account was opened again, with the link of our letter, and is not deleted."
        " Sign in as before; API keys that you had made are void.",
        IF_NOT_YOU,
    ),
    "account_deleted": EmailTemplate(
        "Your account was deleted",
        "your account was deleted, and your name and address with it. This is our last mail to you.",
        "If this was not you, write to our support from this address at once.",
    ),
    "api_key_created": EmailTemplate(
        "An API key was created",
        "an API key{% if key_name %}, “{{ key_name }}”,{% endif %} was created"
        "{% if tenant_name %} in “{{ tenant_name }}”{% endif %}. Programs that have it act for its owner.",
        "If this was not you, revoke the key, then reset your password, which signs everybody out.",
    ),
    "api_key_rotated": EmailTemplate(
        "An API key has a new secret",
        f"{KEY} was given a new secret{BY_ACTOR}."
        " The previous one stops working at once, or when its overlap ends.",
        "If this surprises you, revoke the key, and ask an owner of the team.",
    ),
    "api_key_revoked": EmailTemplate(
        "An API key was revoked",
        f"{KEY} was revoked{BY_ACTOR}. No program gets in with it any more.",
        ASK_OWNER,
    ),
    "api_keys_stopped": EmailTemplate(
        "API keys have stopped working",
        f"{MEMBER} may not hold API keys in {TEAM} any more, so these have stopped working:",
        "If a program still needs one, rotate the key: you get its new secret, and it works with your rights."
        " Revoke the others. A key of a closed account is revoked already; make a new one.",
    ),
    "api_keys_kept": EmailTemplate(
        "API keys go on without their holder",
        f"{MEMBER} may not hold API keys in {TEAM} any more."
        " These go on working, as the team's settings say:",
        "Rotate those that are still needed, so that nobody else knows their secrets, and revoke the others.",
    ),
    "service_credential_revoked": EmailTemplate(
        "A service account's credential was revoked",
        "a credential of the service account{% if account %} “{{ account }}”{% endif %}"
        f" was revoked in {TEAM}. It gets no further access token.",
        ASK_OWNER,
    ),
    "tenant_suspended": EmailTemplate(
        "A team was suspended",
        f"{TEAM} was suspended: nobody gets in, and nothing is lost. An owner can reactivate it,"
        " unless the operators suspended it.",
        "If this surprises you, ask the other owners, or write to our support.",
    ),
    "tenant_reactivated": EmailTemplate(
        "A team is active again",
        f"{TEAM} is active again: its members and its API keys get in as before.",
        "If this surprises you, ask the other owners, or write to our support.",
    ),
    "tenant_deleted": EmailTemplate(
        "A team was deleted",
        f"{TEAM} was deleted: nobody gets in any more, and its data will be removed.",
        "If this surprises you, write to our support at once: the team can be restored until then.",
    ),
}
