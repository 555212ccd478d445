//! What the pages and the index say, in the languages that they say it in.
//!
//! A locale without words of its own reads English, and the page says so in `lang`.

use super::contents::Outcome;

/// Everything that a person reads, in one language.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is named for what it says")]
pub(super) struct Words {
    /// As BCP 47 has it.
    pub(super) language: &'static str,
    pub(super) report_title: &'static str,
    pub(super) preview_title: &'static str,
    pub(super) categories_title: &'static str,
    pub(super) request: &'static str,
    pub(super) made_at: &'static str,
    pub(super) available_until: &'static str,
    pub(super) files: &'static str,
    pub(super) no_files: &'static str,
    pub(super) files_caption: &'static str,
    pub(super) file: &'static str,
    pub(super) from: &'static str,
    pub(super) size: &'static str,
    pub(super) received: &'static str,
    pub(super) places: &'static str,
    pub(super) places_caption: &'static str,
    pub(super) place: &'static str,
    pub(super) outcome: &'static str,
    pub(super) asked_by: &'static str,
    pub(super) outcomes: [&'static str; 5],
    pub(super) download: &'static str,
    pub(super) download_hint: &'static str,
    pub(super) no_more_downloads: &'static str,
    pub(super) downloads_ended: &'static str,
    pub(super) categories_intro: &'static str,
    pub(super) other_category: &'static str,
    pub(super) preview_intro: &'static str,
    pub(super) erasure_begins: &'static str,
    pub(super) stop: &'static str,
    pub(super) stop_hint: &'static str,
    pub(super) stop_confirm: &'static str,
    pub(super) stop_unconfirmed: &'static str,
    pub(super) stop_button: &'static str,
    pub(super) stopped_title: &'static str,
    pub(super) stopped: &'static str,
    pub(super) keep_link: &'static str,
}

impl Words {
    /// The words for a locale such as `de-AT`.
    pub(super) fn of(locale: &str) -> &'static Words {
        let language = locale.split(['-', '_']).next().unwrap_or_default();
        [&GERMAN, &FRENCH, &SPANISH]
            .into_iter()
            .find(|words| words.language.eq_ignore_ascii_case(language))
            .unwrap_or(&ENGLISH)
    }

    /// What came of asking.
    pub(super) fn outcome(&self, outcome: Outcome) -> &'static str {
        self.outcomes[match outcome {
            Outcome::Data => 0,
            Outcome::Nothing => 1,
            Outcome::Exception => 2,
            Outcome::NotAsked => 3,
            Outcome::Unfinished => 4,
        }]
    }
}

static ENGLISH: Words = Words {
    language: "en",
    report_title: "Your data",
    preview_title: "Data that is going to be erased",
    categories_title: "Categories of your data",
    request: "Request",
    made_at: "Made on",
    available_until: "Available until",
    files: "Files",
    no_files: "No files were found.",
    files_caption: "Each file, where it comes from, how large it is and when it was received",
    file: "File",
    from: "From",
    size: "Size",
    received: "Received",
    places: "Where we looked",
    places_caption: "Each system that was part of this request, and what came of it",
    place: "System",
    outcome: "Result",
    asked_by: "Looked up by",
    outcomes: [
        "Data was found",
        "Nothing was found",
        "Left out for a legal reason",
        "Nothing to look up by",
        "Not finished",
    ],
    download: "Download everything",
    download_hint: "You get one ZIP archive. Open the file index.html in it first.",
    no_more_downloads: "This link has given as many downloads as it can. Ask for a new one.",
    downloads_ended: "The files can no longer be downloaded.",
    categories_intro: "Data of these categories was found. The data itself is not part of this answer.",
    other_category: "Other",
    preview_intro: "This is what was found. It is going to be erased, and that cannot be undone.",
    erasure_begins: "Erasure begins",
    stop: "Stop the erasure",
    stop_hint: "Until the erasure begins you can withdraw your request. Nothing is erased then.",
    stop_confirm: "Yes, I withdraw my request: my data is to be kept",
    stop_unconfirmed: "Nothing has changed. Tick the box to confirm that you withdraw your request.",
    stop_button: "Withdraw the request",
    stopped_title: "Your request is withdrawn",
    stopped: "Nothing is going to be erased. You can make a new request at any time.",
    keep_link: "Whoever has the address of this page can see what it shows. Do not pass it on.",
};

static GERMAN: Words = Words {
    language: "de",
    report_title: "Ihre Daten",
    preview_title: "Daten, die gelöscht werden",
    categories_title: "Kategorien Ihrer Daten",
    request: "Anfrage",
    made_at: "Erstellt am",
    available_until: "Verfügbar bis",
    files: "Dateien",
    no_files: "Es wurden keine Dateien gefunden.",
    files_caption: "Jede Datei, woher sie kommt, wie groß sie ist und wann sie einging",
    file: "Datei",
    from: "Von",
    size: "Größe",
    received: "Eingegangen",
    places: "Wo wir gesucht haben",
    places_caption: "Jedes System, das an dieser Anfrage beteiligt war, und das Ergebnis",
    place: "System",
    outcome: "Ergebnis",
    asked_by: "Gesucht anhand von",
    outcomes: [
        "Daten gefunden",
        "Nichts gefunden",
        "Aus rechtlichen Gründen ausgelassen",
        "Nichts, wonach gesucht werden konnte",
        "Nicht abgeschlossen",
    ],
    download: "Alles herunterladen",
    download_hint: "Sie erhalten ein ZIP-Archiv. Öffnen Sie darin zuerst die Datei index.html.",
    no_more_downloads: "Mit diesem Link sind keine weiteren Downloads möglich. Bitten Sie um einen neuen.",
    downloads_ended: "Die Dateien können nicht mehr heruntergeladen werden.",
    categories_intro: "Es wurden Daten dieser Kategorien gefunden. Die Daten selbst gehören nicht zu dieser Antwort.",
    other_category: "Sonstiges",
    preview_intro: "Das wurde gefunden. Es wird gelöscht, und das lässt sich nicht rückgängig machen.",
    erasure_begins: "Die Löschung beginnt",
    stop: "Löschung stoppen",
    stop_hint: "Bis die Löschung beginnt, können Sie Ihre Anfrage zurückziehen. Dann wird nichts gelöscht.",
    stop_confirm: "Ja, ich ziehe meine Anfrage zurück: Meine Daten sollen bleiben",
    stop_unconfirmed: "Es hat sich nichts geändert. Bestätigen Sie mit dem Häkchen, dass Sie die Anfrage zurückziehen.",
    stop_button: "Anfrage zurückziehen",
    stopped_title: "Ihre Anfrage ist zurückgezogen",
    stopped: "Es wird nichts gelöscht. Sie können jederzeit eine neue Anfrage stellen.",
    keep_link: "Wer die Adresse dieser Seite kennt, sieht, was sie zeigt. Geben Sie sie nicht weiter.",
};

static FRENCH: Words = Words {
    language: "fr",
    report_title: "Vos données",
    preview_title: "Données qui vont être effacées",
    categories_title: "Catégories de vos données",
    request: "Demande",
    made_at: "Établi le",
    available_until: "Disponible jusqu’au",
    files: "Fichiers",
    no_files: "Aucun fichier n’a été trouvé.",
    files_caption: "Chaque fichier, sa provenance, sa taille et sa date de réception",
    file: "Fichier",
    from: "Provenance",
    size: "Taille",
    received: "Reçu le",
    places: "Où nous avons cherché",
    places_caption: "Chaque système concerné par cette demande, et le résultat",
    place: "Système",
    outcome: "Résultat",
    asked_by: "Recherché par",
    outcomes: [
        "Des données ont été trouvées",
        "Rien n’a été trouvé",
        "Exclu pour un motif légal",
        "Rien qui permette une recherche",
        "Non terminé",
    ],
    download: "Tout télécharger",
    download_hint: "Vous recevez une archive ZIP. Ouvrez d’abord le fichier index.html qu’elle contient.",
    no_more_downloads: "Ce lien ne permet plus de téléchargement. Demandez-en un nouveau.",
    downloads_ended: "Les fichiers ne peuvent plus être téléchargés.",
    categories_intro: "Des données de ces catégories ont été trouvées. Les données elles-mêmes ne font pas partie de cette réponse.",
    other_category: "Autres",
    preview_intro: "Voici ce qui a été trouvé. Ces données vont être effacées, et cela est irréversible.",
    erasure_begins: "Début de l’effacement",
    stop: "Arrêter l’effacement",
    stop_hint: "Jusqu’au début de l’effacement, vous pouvez retirer votre demande. Rien n’est alors effacé.",
    stop_confirm: "Oui, je retire ma demande : mes données doivent être conservées",
    stop_unconfirmed: "Rien n’a changé. Cochez la case pour confirmer que vous retirez votre demande.",
    stop_button: "Retirer la demande",
    stopped_title: "Votre demande est retirée",
    stopped: "Rien ne sera effacé. Vous pouvez faire une nouvelle demande à tout moment.",
    keep_link: "Toute personne qui connaît l’adresse de cette page voit ce qu’elle montre. Ne la transmettez pas.",
};

static SPANISH: Words = Words {
    language: "es",
    report_title: "Sus datos",
    preview_title: "Datos que se van a suprimir",
    categories_title: "Categorías de sus datos",
    request: "Solicitud",
    made_at: "Elaborado el",
    available_until: "Disponible hasta",
    files: "Archivos",
    no_files: "No se encontró ningún archivo.",
    files_caption: "Cada archivo, de dónde procede, su tamaño y cuándo se recibió",
    file: "Archivo",
    from: "Procedencia",
    size: "Tamaño",
    received: "Recibido",
    places: "Dónde hemos buscado",
    places_caption: "Cada sistema que formó parte de esta solicitud y el resultado",
    place: "Sistema",
    outcome: "Resultado",
    asked_by: "Buscado por",
    outcomes: [
        "Se encontraron datos",
        "No se encontró nada",
        "Excluido por un motivo legal",
        "Nada con que buscar",
        "Sin terminar",
    ],
    download: "Descargar todo",
    download_hint: "Recibirá un archivo ZIP. Abra primero el archivo index.html que contiene.",
    no_more_downloads: "Este enlace no permite más descargas. Pida uno nuevo.",
    downloads_ended: "Los archivos ya no se pueden descargar.",
    categories_intro: "Se encontraron datos de estas categorías. Los datos mismos no forman parte de esta respuesta.",
    other_category: "Otros",
    preview_intro: "Esto es lo que se encontró. Se va a suprimir, y eso no se puede deshacer.",
    erasure_begins: "La supresión comienza",
    stop: "Detener la supresión",
    stop_hint: "Hasta que comience la supresión puede retirar su solicitud. Entonces no se suprime nada.",
    stop_confirm: "Sí, retiro mi solicitud: mis datos deben conservarse",
    stop_unconfirmed: "No ha cambiado nada. Marque la casilla para confirmar que retira su solicitud.",
    stop_button: "Retirar la solicitud",
    stopped_title: "Su solicitud está retirada",
    stopped: "No se va a suprimir nada. Puede hacer una nueva solicitud en cualquier momento.",
    keep_link: "Quien conozca la dirección de esta página ve lo que muestra. No la comparta.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_reads_its_language_and_any_other_english() {
        for (locale, language) in [
            ("de", "de"),
            ("de-AT", "de"),
            ("fr-CA", "fr"),
            ("es-419", "es"),
            ("en-GB", "en"),
            ("ja", "en"),
            ("", "en"),
        ] {
            assert_eq!(Words::of(locale).language, language, "{locale}");
        }
    }
}
