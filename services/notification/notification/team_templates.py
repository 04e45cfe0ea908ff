"""The text of each email about a team: its members, its rules and its keys."""

from notification.email_templates import TEAM, EmailTemplate

ASK_OWNER = "If you did not expect this, ask an owner of the team."
CONTACT_SUPPORT = "If you did not expect this, contact our support immediately."
AS_ROLE = "{% if role %} as {{ role }}{% endif %}"
NEW_ROLE = "{% if role %}: you are now {{ role }}{% endif %}"
THE_TEAM = "{% if tenant_name %}“{{ tenant_name }}”{% else %}Your team{% endif %}"
IN_TEAM = "{% if tenant_name %} in “{{ tenant_name }}”{% endif %}"
KEY = "{% if key_name %} “{{ key_name }}”{% endif %}" + IN_TEAM
BY_ACTOR = "{% if actor %} by {{ actor }}{% endif %}"
MEMBER = "{% if member %}{{ member }}{% else %}A member{% endif %}"

TEAM_TEMPLATES = {
    "invitation": EmailTemplate(
        "You have been invited to a team",
        "{% if inviter %}{{ inviter }} has invited you{% else %}You have been invited{% endif %} to join "
        f"{TEAM}{AS_ROLE}.",
        "If you do not know the sender, ignore this email.",
        page="invitation",
        link_text="View invitation",
    ),
    "mfa_required": EmailTemplate(
        "Your team now requires a second factor",
        f"{THE_TEAM} now requires a second factor to sign in. If you have one, nothing changes for you."
        " If you do not, you are asked to set one up at your next sign-in, and sessions that started without"
        " one end within minutes. Have an authenticator app or a passkey ready.",
        ASK_OWNER,
    ),
    "mfa_optional": EmailTemplate(
        "Your team no longer requires a second factor",
        f"{THE_TEAM} no longer requires a second factor to sign in. Existing second factors stay active.",
        "If you did not expect this, check the audit log and ask an owner of the team.",
    ),
    "role_changed": EmailTemplate(
        "Your role was changed",
        f"Your role in {TEAM} was changed{NEW_ROLE}.",
        ASK_OWNER,
    ),
    "member_removed": EmailTemplate(
        "You were removed from a team",
        f"You are no longer a member of {TEAM}. Your account still exists.",
        ASK_OWNER,
    ),
    "ownership_transferred": EmailTemplate(
        "A team has a new owner",
        f"The ownership of {TEAM} was transferred{{% if new_owner %}} to {{{{ new_owner }}}}{{% endif %}}.",
        CONTACT_SUPPORT,
    ),
    "api_key_created": EmailTemplate(
        "An API key was created",
        f"The API key{KEY} was created. Programs that use it act on behalf of its owner.",
        "If this was not you, revoke the key, then reset your password: this signs out every device.",
    ),
    "api_key_rotated": EmailTemplate(
        "An API key was rotated",
        f"The secret of the API key{KEY} was replaced{BY_ACTOR}."
        " The previous secret stops working at once, or at the end of the overlap.",
        "If you did not expect this, revoke the key and ask an owner of the team.",
    ),
    "api_key_revoked": EmailTemplate(
        "An API key was revoked",
        f"The API key{KEY} was revoked{BY_ACTOR}. Programs can no longer use it.",
        ASK_OWNER,
    ),
    "api_keys_stopped": EmailTemplate(
        "API keys have stopped working",
        f"{MEMBER} may no longer hold API keys in {TEAM}, so these have stopped working:",
        "If a program still needs one, rotate the key: you get the new secret, and it works with your"
        " permissions. Revoke the others. The keys of a closed account are already revoked; create new ones.",
    ),
    "api_keys_kept": EmailTemplate(
        "API keys still work without their holder",
        f"{MEMBER} may no longer hold API keys in {TEAM}."
        " According to the settings of the team, these keep working:",
        "Rotate the keys that are still needed, so that nobody else knows their secrets. Revoke the others.",
    ),
    "service_credential_revoked": EmailTemplate(
        "A service account credential was revoked",
        f"A credential of the service account{{% if account %}} “{{{{ account }}}}”{{% endif %}} in {TEAM}"
        " was revoked. It can no longer be used to get access tokens.",
        ASK_OWNER,
    ),
    "tenant_suspended": EmailTemplate(
        "A team was suspended",
        f"{THE_TEAM} was suspended: nobody has access, and no data is lost. An owner can reactivate it,"
        " unless the operators suspended it.",
        "If you did not expect this, ask the other owners or contact our support.",
    ),
    "tenant_reactivated": EmailTemplate(
        "A team was reactivated",
        f"{THE_TEAM} is active again: its members and its API keys have access as before.",
        "If you did not expect this, ask the other owners or contact our support.",
    ),
    "tenant_deleted": EmailTemplate(
        "A team was deleted",
        f"{THE_TEAM} was deleted: nobody has access any more, and its data will be erased.",
        "If you did not expect this, contact our support immediately:"
        " until its data is erased, the team can be restored.",
    ),
}
