"""The text of each email about a tenant's billing, to its owners and its billing address."""

from notification.email_templates import FOR_TEAM, EmailTemplate

WHY_YOU = (
    "You get this email as an owner of the team, or because yours is its billing address."
    " The billing address can be changed on the billing page."
)
OF_INVOICE = "{% if invoice %} of invoice {{ invoice }}{% endif %}{% if amount %} ({{ amount }}){% endif %}"
ON_END = "{% if ends_at %} on {{ ends_at }}{% endif %}"
DATA_STAYS = "No data is deleted."
READ_ONLY = "Data can be read, and new runs are refused."
FREE_PLAN = "the team is on the free plan"


def billing_email(subject: str, *sentences: str, link_text: str = "Open billing") -> EmailTemplate:
    """Return a template with a link to the billing page."""
    return EmailTemplate(
        subject, " ".join(sentences), WHY_YOU, page="billing", link_text=link_text, has_token=False
    )


BILLING_TEMPLATES = {
    "trial_ending": billing_email(
        "Your trial ends soon",
        f"The trial{FOR_TEAM} ends{ON_END}.",
        "With a payment method, the subscription continues and is billed from then on.",
        f"Without one, it ends, and {FREE_PLAN}.",
        "Add a payment method, or cancel, on the billing page.",
    ),
    "trial_ended": billing_email(
        "Your trial has ended",
        f"The trial{FOR_TEAM} ended without a payment method, so {FREE_PLAN} now.",
        DATA_STAYS,
        "To continue, choose a plan and add a payment method on the billing page.",
    ),
    "trial_paused": billing_email(
        "Your trial has ended",
        f"The trial{FOR_TEAM} ended without a payment method, so the subscription is paused.",
        READ_ONLY,
        DATA_STAYS,
        "To continue, add a payment method on the billing page.",
    ),
    "payment_failed": billing_email(
        "A payment failed",
        f"The payment{OF_INVOICE}{FOR_TEAM} failed.",
        "Update the payment method on the billing page, or pay the open invoice there."
        "{% if next_attempt %} The payment is tried again on {{ next_attempt }}.{% endif %}"
        "{% if read_only_at %} If it is not paid by {{ read_only_at }}, access becomes read-only.{% endif %}",
    ),
    "payment_action_required": billing_email(
        "A payment needs your confirmation",
        f"Your bank asks you to confirm the payment{OF_INVOICE}{FOR_TEAM}.",
        "Open the invoice and confirm the payment there; otherwise it fails.",
        link_text="Open invoice",
    ),
    "payment_overdue": billing_email(
        "Access is read-only: a payment is overdue",
        f"A payment{FOR_TEAM} is overdue.",
        READ_ONLY,
        DATA_STAYS,
        "Update the payment method on the billing page, or pay the open invoice there:",
        "full access returns with the payment.",
    ),
    "subscription_unpaid": billing_email(
        "Your plan was suspended: an invoice is unpaid",
        f"An invoice{FOR_TEAM} was not paid, and its payment is not tried again.",
        "The limits of the free plan apply now.",
        DATA_STAYS,
        "Pay the open invoice on the billing page to get the plan back.",
    ),
    "subscription_canceled": billing_email(
        "Your subscription was canceled",
        f"The subscription{FOR_TEAM} was canceled and ends{ON_END}.",
        f"Until then nothing changes; afterwards {FREE_PLAN}.",
        "To keep the subscription, resume it on the billing page before it ends.",
    ),
    "subscription_ended": billing_email(
        "Your subscription has ended",
        f"The subscription{FOR_TEAM} has ended, so {FREE_PLAN} now.",
        DATA_STAYS,
        "You can subscribe again on the billing page.",
    ),
    "usage_warning": billing_email(
        "Most of a usage limit is used",
        f"{{{{ percent }}}} % of the limit of {{{{ feature }}}}{FOR_TEAM} is used."
        "{% if resets_at %} The limit resets on {{ resets_at }}.{% endif %}"
        "{% if is_hard %} At 100 %, new runs are refused until then:"
        " raise the limit, or change the plan, on the billing page.{% endif %}",
    ),
    "usage_limit_reached": billing_email(
        "A usage limit is reached",
        f"The limit of {{{{ feature }}}}{FOR_TEAM} is reached."
        "{% if resets_at %} It resets on {{ resets_at }}.{% endif %}"
        "{% if is_hard %} New runs are refused until then,"
        " unless you raise the limit or change the plan on the billing page."
        "{% else %} Runs are not refused.{% endif %}",
    ),
}
