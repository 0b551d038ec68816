"""Under which terms the public sources of training messages are, for a bundle's card.

By the names that the inputs of `trainer data prepare` have here. Of an input that is not named below nothing
is known to us, and whoever trains on it has to know its terms.
"""

from typing import Final

UNKNOWN: Final = "not known to us: yours to know"
NONE_STATED: Final = "none stated where it was found"
OURS: Final = "filterd's own templates, Apache-2.0"
TOKENIZER: Final = "The tokenizer's ranks are OpenAI's GPT-2 vocabulary (MIT)."
TERMS: Final = {
    "own": OURS,
    "templates": OURS,
    "uci": "free use, keep the notice; cite Almeida and Gómez Hidalgo 2011",
    "nus": "cite Chen and Kan 2013",
    "enron": "free for research; cite Metsis, Androutsopoulos and Paliouras 2006",
    "spamassassin": "SpamAssassin public corpus; contents CC0 as packaged",
    "chat_banking77": "CC BY 4.0",
    "chat_ru_tgspam": "MIT",
    "chat_zh": "in a GPL-3 repository",
    "phishing_pot": "as stated in its repository; for research",
    "sms_mishra": "CC BY 4.0",
    "sms_multi_mt": "as the SMS Spam Collection",
    "sms_zh_fbs": "cite the paper (CCS 2020)",
    "sms_zh_nus": "public domain as stated by NUS; cite",
    "text_ud": "CC BY-SA 4.0, some parts for non-commercial use",
    **dict.fromkeys(
        [
            *("chat_ru", "mail_fa", "mail_list_ham", "mail_list_spam", "mail_zh_ccert", "nazario1"),
            *("nazario_new", "sms_id", "sms_mz", "sms_ng_exais", "sms_ph2", "sms_sw", "sms_tr"),
            *("sms_tr_personal", "sms_zh"),
        ],
        NONE_STATED,
    ),
}


def of(source: str) -> str:
    """The terms of a source by its name."""
    return TERMS.get(source, UNKNOWN)
