"""What a note may say beside a person's own words, by language: whom it is about, and what joins words.

No word here negates, counts, judges, or is one of another meaning in English; so a language may lack some.
"""

from collections.abc import Set
from unicodedata import normalize

CONNECTING_WORDS = {
    "en": """
        a am an and are as at be by called for from had has have he her his i in is it its me my
        name named of on or person s she so that the their them they this to user was were who with
        you your
    """,
    "de": """
        auf aus bei das dem den der ein eine einem einen einer er es für hat heißt heisst ich ihr
        ihre ihren im ist mein meine mit nutzer nutzerin sein seine sie sind und von zu zum zur
    """,
    "es": """
        al con de del el ella en es está la las le les lo los mi mis para persona por que se su sus
        un una usuaria usuario yo
    """,
    "fr": """
        au aux avec ce cet cette dans de des du elle est et il ils je la le les leur leurs ma mes
        mon que qui sa ses sont sur un une utilisateur utilisatrice vous
    """,
    "it": """
        al alla che con da dal del della di ha il io la le lo mi mia mio nel nella persona si sono
        su sua suo un una utente
    """,
    "nl": """
        aan bij dat de deze een en gebruiker heeft het hij ik met mijn naam naar op persoon van voor
        zijn zij
    """,
    "pt": """
        ao com da das de do dos ela ele em eu meu minha na os para pessoa por que seu sua um uma
        usuário utilizador
    """,
}
# Letters and marks apart, as those of messages.
BY_LANGUAGE = {
    language: frozenset(normalize("NFKD", words).casefold().split())
    for language, words in CONNECTING_WORDS.items()
}
ENGLISH = BY_LANGUAGE["en"]
# Of how many of its words a message proves that it is in a language.
MIN_PROOF = 2


def connecting_words(known: Set[str]) -> frozenset[str]:
    """Return what may be said beside in the languages of a message, in English always."""
    others = (words for words in BY_LANGUAGE.values() if len(words & known - ENGLISH) >= MIN_PROOF)
    return ENGLISH.union(*others)
