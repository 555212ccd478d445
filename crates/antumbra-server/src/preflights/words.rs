//! What the page of a verification says, in the languages that the messages are written in.

/// The texts of the page in one language.
pub(super) struct Words {
    /// The language, as BCP 47 has it.
    pub(super) language: &'static str,
    /// The title.
    pub(super) title: &'static str,
    /// What is asked.
    pub(super) asked: &'static str,
    /// The button.
    pub(super) button: &'static str,
    /// What to do otherwise.
    pub(super) otherwise: &'static str,
    /// That it is done.
    pub(super) done: &'static str,
    /// That the link opens nothing.
    pub(super) not_valid: &'static str,
}

/// The texts in the language of a locale, or in English.
pub(super) fn words(locale: &str) -> &'static Words {
    let language = locale.split('-').next().unwrap_or_default();
    let found = ALL.iter().find(|words| words.language.eq_ignore_ascii_case(language));
    found.unwrap_or(&ALL[0])
}

const ALL: [Words; 7] = [
    Words {
        language: "en",
        title: "Confirm your e-mail address",
        asked: "A privacy request names the address that this link was sent to. Is it yours?",
        button: "Yes, this is my address",
        otherwise: "If you did not make the request, close this page. It goes no further without you.",
        done: "Thank you, your address is confirmed. You can close this page.",
        not_valid: "This link is not valid, or no longer. The newest message to you has one that is.",
    },
    Words {
        language: "de",
        title: "E-Mail-Adresse bestätigen",
        asked: "Eine Datenschutzanfrage nennt die Adresse, an die dieser Link ging. Ist es Ihre?",
        button: "Ja, das ist meine Adresse",
        otherwise: "Wenn die Anfrage nicht von Ihnen kommt, schließen Sie diese Seite. Ohne Sie geht sie nicht weiter.",
        done: "Danke, Ihre Adresse ist bestätigt. Sie können diese Seite schließen.",
        not_valid: "Dieser Link gilt nicht oder nicht mehr. Die neueste Nachricht an Sie enthält einen gültigen.",
    },
    Words {
        language: "fr",
        title: "Confirmez votre adresse e-mail",
        asked: "Une demande relative à la vie privée mentionne l’adresse à laquelle ce lien a été envoyé. Est-ce la vôtre ?",
        button: "Oui, c’est mon adresse",
        otherwise: "Si vous n’êtes pas à l’origine de la demande, fermez cette page. Elle n’ira pas plus loin sans vous.",
        done: "Merci, votre adresse est confirmée. Vous pouvez fermer cette page.",
        not_valid: "Ce lien n’est pas ou plus valable. Le dernier message que vous avez reçu en contient un qui l’est.",
    },
    Words {
        language: "es",
        title: "Confirme su dirección de correo",
        asked: "Una solicitud de privacidad menciona la dirección a la que se envió este enlace. ¿Es la suya?",
        button: "Sí, es mi dirección",
        otherwise: "Si usted no hizo la solicitud, cierre esta página. No seguirá adelante sin usted.",
        done: "Gracias, su dirección está confirmada. Puede cerrar esta página.",
        not_valid: "Este enlace no es válido o ya no lo es. El último mensaje que recibió contiene uno que sí lo es.",
    },
    Words {
        language: "it",
        title: "Confermi il suo indirizzo e-mail",
        asked: "Una richiesta sulla privacy indica l’indirizzo a cui è stato inviato questo link. È il suo?",
        button: "Sì, è il mio indirizzo",
        otherwise: "Se la richiesta non è sua, chiuda questa pagina. Senza di lei non prosegue.",
        done: "Grazie, il suo indirizzo è confermato. Può chiudere questa pagina.",
        not_valid: "Questo link non è valido o non lo è più. L’ultimo messaggio ricevuto ne contiene uno valido.",
    },
    Words {
        language: "nl",
        title: "Bevestig uw e-mailadres",
        asked: "Een privacyverzoek noemt het adres waarnaar deze link is gestuurd. Is dat van u?",
        button: "Ja, dit is mijn adres",
        otherwise: "Als het verzoek niet van u is, sluit dan deze pagina. Zonder u gaat het niet verder.",
        done: "Dank u, uw adres is bevestigd. U kunt deze pagina sluiten.",
        not_valid: "Deze link is niet of niet meer geldig. Het nieuwste bericht aan u bevat er een die dat wel is.",
    },
    Words {
        language: "pt",
        title: "Confirme o seu endereço de e-mail",
        asked: "Um pedido de privacidade indica o endereço para o qual este link foi enviado. É o seu?",
        button: "Sim, é o meu endereço",
        otherwise: "Se não fez o pedido, feche esta página. Ele não avança sem si.",
        done: "Obrigado, o seu endereço está confirmado. Pode fechar esta página.",
        not_valid: "Este link não é válido ou deixou de o ser. A mensagem mais recente que recebeu contém um que é.",
    },
];
