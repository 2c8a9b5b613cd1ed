package words

var german = Language{
	Tag: "de",
	States: map[string]string{
		"working":      "Bitte warten – das Gerät arbeitet",
		"waiting":      "Es wartet – das Gerät versucht es von selbst weiter",
		"needs-person": "Bitte helfen – jemand muss etwas tun",
		"joined":       "Fertig – alles in Ordnung",
	},
	Steps: map[string]string{
		"config":     "node.yaml lesen",
		"identity":   "Name, Schlüssel und Netzwerk einrichten",
		"clock":      "Uhr stellen",
		"components": "Programme herunterladen",
		"control":    "den Server des privaten Netzes starten",
		"tailnet":    "dem privaten Netz beitreten",
		"firewall":   "alle anderen fernhalten",
		"k3s":        "das Cluster-Programm starten",
		"verify":     "prüfen, ob der Cluster das Gerät annimmt",
		"secrets":    "dem Cluster die ersten Geheimnisse übergeben",
		"seal":       "die Geheimnisse entfernen",
		"longhorn":   "die Platte für Volumes vorbereiten",
		"restore":    "Daten aus der Sicherung zurückholen",
	},
	Labels: Labels{
		Node: "Gerät", Site: "Ort", Address: "Adresse", Step: "Schritt", Code: "Code",
		Time: "Stand", NextTry: "Nächster Versuch", Problem: "Problem", Remedy: "Was zu tun ist", Notice: "Außerdem",
		StepOf:   "%d von %d: %s",
		Starting: "Das Gerät startet und sagt noch nichts.",
		Quiet:    "Das Gerät antwortet gerade nicht. Das hat es zuletzt gesagt; die Seite macht von selbst weiter.",
		Bye:      "Das war’s: Das Gerät braucht Sie nicht mehr, und diese Seite schließt sich.",
		HandOver: "Hat der Besitzer Ihnen etwas für dieses Gerät geschickt?",
		Choose:   "Einen Link: öffnen Sie ihn auf diesem Telefon. Eine Datei: wählen Sie sie hier aus.",
		Sending:  "Wird übergeben …",
		Taken:    "Danke! Das Gerät hat es und macht in ein paar Sekunden weiter.",
		Busy:     "Zu viele Versuche. Bitte warten Sie eine halbe Minute und versuchen Sie es noch einmal.",
		Lost:     "Das Gerät hat nicht geantwortet. Bitte versuchen Sie es noch einmal.",
		About:    "Diese Seite kommt vom Gerät selbst und geht ohne Internet. Ohne die Unterschrift des Besitzers kann hier niemand etwas ändern.",
	},
	Problems: germanProblems,
}

const (
	deLinkPort = "Prüfen Sie das andere Ende des Kabels; schalten Sie den Router aus und ein. Das Gerät startet seinen Anschluss neu, dann sich selbst, immer seltener, bis der Router antwortet."
	deNewKey   = "Bitten Sie den Besitzer um einen neuen Schlüssel (imagebuilder key --link) und öffnen Sie dessen Link mit einem Telefon in diesem Netz; oder schreiben Sie den Schlüssel in node.yaml auf der Boot-Partition (headscale: authKey:) und schalten Sie das Gerät aus und ein."
	deWrite    = "Schreiben Sie die node.yaml dieses Geräts auf die Boot-Partition: imagebuilder personalize."
	deOffOn    = "Schalten Sie das Gerät aus und ein."
	deLink     = "Bitten Sie den Besitzer um einen neuen Link (imagebuilder key --link)."
	deTries    = "Warten Sie; das Gerät versucht es weiter."
)

var germanProblems = map[string]Text{
	"node-missing":    {"Auf der Boot-Partition ist keine node.yaml.", deWrite},
	"node-empty":      {"node.yaml ist leer: Diese Karte wurde keinem Gerät zugeteilt.", deWrite},
	"node-binary":     {"node.yaml ist keine Textdatei.", "Ersetzen Sie node.yaml auf der Boot-Partition durch die richtige Datei, als reinen Text (UTF-8) gespeichert."},
	"node-too-large":  {"node.yaml ist zu groß.", "Ersetzen Sie node.yaml auf der Boot-Partition durch die richtige Datei; höchstens 32 KiB."},
	"node-version":    {"node.yaml ist für eine andere Version dieses Programms: %s", "Schreiben Sie node.yaml mit dem imagebuilder, der dieses Image gemacht hat, oder ein neueres Image."},
	"bad-field":       {"In node.yaml ist ein Fehler: %s", "Berichtigen Sie node.yaml auf der Boot-Partition und schalten Sie das Gerät aus und ein."},
	"unsigned":        {"node.yaml ändert %s ohne Unterschrift des Besitzers; deshalb wird nichts davon verwendet.", "Bitten Sie den Besitzer um eine unterschriebene node.yaml. Ohne Unterschrift dürfen sich nur Schlüssel, Token und Netzwerk ändern."},
	"signature-wrong": {"Die Unterschrift des Besitzers in node.yaml gilt nicht (%s); nichts aus der Datei wird verwendet.", "Kopieren Sie die Datei des Besitzers noch einmal auf die Boot-Partition, ganz und unverändert. Hilft das nicht, muss der Besitzer sie neu unterschreiben."},
	"signature-node":  {"node.yaml wurde für Gerät %s unterschrieben, dies ist %s; nichts davon wird verwendet.", "Schreiben Sie die Datei auf die Boot-Partition, die für dieses Gerät gemacht wurde."},
	"signature-old":   {"node.yaml wurde am %s unterschrieben, eine vom %s ist in Gebrauch; nichts davon wird verwendet.", "Bitten Sie den Besitzer um die neueste Datei, oder diese neu zu unterschreiben."},

	"offer-unsigned": {"Was übergeben wurde, trägt keine Unterschrift des Besitzers; nichts davon wird verwendet.", deLink},
	"offer-wrong":    {"Was übergeben wurde, trägt keine gültige Unterschrift des Besitzers; nichts davon wird verwendet.", "Öffnen Sie den Link des Besitzers noch einmal, ganz und unverändert. Hilft das nicht, bitten Sie ihn um einen neuen."},
	"offer-node":     {"Was übergeben wurde, ist für Gerät %s, dies ist %s; nichts davon wird verwendet.", "Öffnen Sie die Seite des anderen Geräts, oder bitten Sie den Besitzer um den Link für dieses."},
	"offer-old":      {"Was übergeben wurde, ist vom %s, und etwas vom %s wurde schon angenommen; nichts davon wird verwendet.", deLink},
	"offer-owner":    {"Dieses Gerät kennt den Schlüssel seines Besitzers nicht und nimmt über seine Seite nichts an.", "Schreiben Sie node.yaml auf die Boot-Partition: dazu muss die Karte oder Platte in einen Computer."},
	"offer-mistake":  {"In dem, was übergeben wurde, ist ein Fehler: %s", deLink},
	"offer-large":    {"Was übergeben wurde, ist zu groß.", deLink},
	"offer-write":    {"Was übergeben wurde, lässt sich nicht auf die Boot-Partition schreiben: %s", "Schalten Sie aus, prüfen Sie die Karte in einem Computer und schreiben Sie das Image neu, wenn sie beschädigt ist."},
	"page":           {"Die Seite für Telefone geht nicht: %s", "Warten Sie eine Minute. Bleibt es so, schalten Sie das Gerät aus und ein."},

	"boot-missing":   {"Die Boot-Partition lässt sich nicht lesen: %s", "Schalten Sie aus, prüfen Sie die Karte in einem Computer und schreiben Sie das Image neu, wenn sie beschädigt ist."},
	"boot-readonly":  {"Die Boot-Partition lässt sich nicht beschreiben, deshalb lassen sich die Geheimnisse darauf nicht entfernen: %s", "Prüfen Sie, ob die Karte schreibgeschützt oder beschädigt ist; prüfen Sie das Dateisystem ihrer ersten Partition."},
	"wrong-board":    {"node.yaml ist für das Board %s, dieses Image für %s.", "Schreiben Sie das Image für das richtige Board oder die node.yaml dieses Geräts."},
	"foreign-data":   {"Die Daten auf dieser Platte gehören dem Gerät %s, in node.yaml steht %s.", "Stecken Sie die richtige Karte oder Platte in dieses Gerät. Um die Platte neu zu verwenden, löschen Sie ihre Daten-Partition."},
	"data-lost":      {"Die Platte mit den Daten dieses Geräts (%s) ist weg.", "Stecken Sie sie wieder an, prüfen Sie Kabel und Strom, und schalten Sie das Gerät aus und ein."},
	"data-failed":    {"Die Platte mit den Daten dieses Geräts (%s) hatte einen Fehler und wird nicht mehr beschrieben.", "Schalten Sie das Gerät aus und ein: Es prüft die Platte. Kommt das wieder, ist die Platte oder ihr Kabel am Ende."},
	"data-restart":   {"node.yaml nennt eine Datenplatte, die ein Gerät nur beim Start annimmt.", deOffOn},
	"data-stays":     {"node.yaml nennt eine Datenplatte, aber dieses Gerät lebt schon auf seiner Boot-Platte und bleibt dort.", "Nehmen Sie dataDisk: aus node.yaml. Zum Umziehen schreiben Sie das Image neu: Das Gerät fängt dann von vorn an."},
	"slot-worn":      {"Ein Teil des Systems in Slot %s liest sich nicht so, wie er geschrieben wurde (gesehen am %s).", "Das Gerät arbeitet mit dem Rest weiter. Der Besitzer schickt ihm ein Update (imagebuilder update), das an eine andere Stelle geschrieben wird. Kommt das wieder, ist die Karte oder Platte am Ende: Ersetzen Sie sie."},
	"disk-too-small": {"Die Karte oder Platte ist zu klein: %s Platz für Daten, mindestens %s sind nötig.", "Nehmen Sie eine größere."},
	"disk-full":      {"Die Platte ist voll: %s frei, mindestens %s sind nötig.", "Schaffen Sie Platz auf der Daten-Partition oder nehmen Sie eine größere Platte."},
	"no-link":        {"Es ist kein Netzwerkkabel eingesteckt.", "Stecken Sie das Netzwerkkabel an beiden Enden ein; die Lämpchen an der Buchse müssen leuchten."},
	"no-dhcp":        {"Das Netz gibt diesem Gerät keine Adresse (keine Antwort von DHCP an %s).", "Prüfen Sie das andere Ende des Kabels und den Router; schalten Sie den Router aus und ein."},
	"dns-down":       {"Der Namensserver antwortet nicht; %s wird nicht gefunden.", "Prüfen Sie, ob hier das Internet geht; schalten Sie den Router aus und ein."},
	"unknown-host":   {"Den Namen %s gibt es nicht.", "Prüfen Sie die Adresse in node.yaml (headscale: url:). Stimmt sie, gibt der Namensserver dieses Netzes falsche Auskunft."},
	"unreachable":    {"Headscale auf %s antwortet nicht.", "Prüfen Sie, ob hier das Internet geht und ob der Headscale-Server läuft. Das Gerät versucht es weiter."},
	"captive-portal": {"Dieses Netz verlangt eine Anmeldung im Browser, bevor es etwas durchlässt.", "Nehmen Sie ein anderes Netz, oder geben Sie dieses Gerät in den Einstellungen des Netzes frei."},
	"not-headscale":  {"Auf %s ist etwas anderes als ein Headscale-Server.", "Prüfen Sie die Adresse in node.yaml (headscale: url:)."},
	"untrusted":      {"Dem Zertifikat von %s wird nicht vertraut: %s", "Schreiben Sie das Zertifikat Ihrer Zertifizierungsstelle in node.yaml (headscale: ca:), oder berichtigen Sie das des Servers."},
	"clock-wrong":    {"Die Uhr geht falsch (%s), und kein Zeitserver antwortet.", "Bringen Sie das Gerät ins Internet, oder nennen Sie in node.yaml einen Zeitserver (network: ntp:)."},

	"link-silent":  {"Der Router (%s) antwortet an %s nicht, obwohl das Kabel steckt.", deLinkPort},
	"link-router":  {"Der Router (%s) antwortet an %s nicht; andere in diesem Netz schon.", "Schalten Sie den Router aus und ein. Das Gerät braucht nichts."},
	"link-bounced": {"Der Router (%s) antwortet an %s nicht; der Anschluss wurde aus- und eingeschaltet.", deLinkPort},
	"link-no-eee":  {"Der Router (%s) antwortet an %s nicht; der Anschluss wurde aus- und eingeschaltet, ohne Stromsparen (EEE). Das Gerät startet sich um %s neu.", deLinkPort},
	"link-restart": {"Der Router (%s) antwortet an %s nicht; das Gerät startet sich neu, zum %s. Mal.", deLinkPort},

	"key-missing":  {"In node.yaml steht kein Schlüssel, und dieses Gerät ist noch kein Mitglied.", deNewKey},
	"key-lost":     {"Dieses Gerät ist kein Mitglied des Tailnets mehr, und sein Schlüssel ist verbraucht.", deNewKey},
	"key-spent":    {"Der Schlüssel in node.yaml wurde schon benutzt; er gilt nur einmal.", deNewKey},
	"key-expired":  {"Der Schlüssel in node.yaml ist abgelaufen.", deNewKey},
	"key-unknown":  {"Headscale kennt den Schlüssel in node.yaml nicht.", deNewKey},
	"login-failed": {"Headscale konnte dieses Gerät nicht aufnehmen: %s", "Warten Sie; das Gerät versucht es mit demselben Schlüssel weiter. Bleibt es so, sehen Sie nach dem Headscale-Server."},
	"name-taken":   {"Ein anderes Gerät heißt schon %s; Headscale hat dieses %s genannt.", "Löschen Sie in Headscale das alte Gerät und benennen Sie dann dieses in %s um. Das Gerät versucht es weiter."},
	"tailscaled":   {"Das Tailnet-Programm läuft nicht: %s", "Warten Sie eine Minute. Bleibt es so, schalten Sie das Gerät aus und ein."},

	"component-down":   {"%s lässt sich nicht herunterladen: %s", "Prüfen Sie, ob hier das Internet geht. Das Gerät versucht es weiter."},
	"component-digest": {"%s wurde heruntergeladen, ist aber nicht die erwartete Datei (falsche Prüfsumme).", "Nehmen Sie dafür nicht dieses Netz; sagen Sie es dem, der das Image gemacht hat. Dann: firstboot retry."},
	"component-none":   {"Das Image sagt nichts über seine Bestandteile: %s", "Schreiben Sie das Image neu."},

	"control":       {"Headscale läuft auf diesem Gerät nicht: %s", "Warten Sie eine Minute. Bleibt es so, lesen Sie: journalctl -u headscale."},
	"control-waits": {"Headscale läuft hier, aber dieses Gerät hat noch keinen eigenen Schlüssel.", "Auf dem Computer des Besitzers: imagebuilder headscale init."},

	"firewall": {"Die Firewall steht nicht: %s", "Warten Sie eine Minute. Bleibt es so, schreiben Sie das Image neu."},

	"longhorn-disk":    {"Die Platte für Longhorns Volumes ist nicht zu gebrauchen. Das Gerät sagt dazu (auf Englisch): %s Gesehen: %s.", "%s"},
	"longhorn-restart": {"node.yaml nennt eine andere Platte für Longhorns Volumes als die, die in Gebrauch ist.", deOffOn},
	"longhorn-volumes": {"In /var/lib/longhorn liegen schon Volumes; deshalb wird die Platte dafür nicht verwendet.", "Ziehen Sie sie in Longhorn um und leeren Sie das Verzeichnis, oder nehmen Sie longhorn: disk: aus node.yaml."},
	"longhorn-damaged": {"Die Platte für Longhorns Volumes ist beschädigt, und sie von selbst zu reparieren könnte Daten kosten: %s", "Melden Sie sich an und lassen Sie e2fsck -f über dieses Gerät laufen, oder nehmen Sie eine andere Platte."},
	"longhorn-failed":  {"Die Platte für Longhorns Volumes (%s) hatte einen Fehler und wird nicht mehr beschrieben.", "Schalten Sie das Gerät aus und ein: Es prüft die Platte. Kommt das wieder, ist die Platte oder ihr Kabel am Ende."},

	"restore-waiting": {"Die Datensicherung %s soll zurückkommen und wartet: %s.", "Schalten Sie die Geräte mit Platten für die Daten ein. Bleibt es eine Stunde so, prüft der Eigentümer, ob der Speicher der Sicherung erreichbar ist."},
	"restore-running": {"Die Daten kommen aus der Sicherung %s zurück (%s).", "Warten Sie: Das kann Stunden dauern. Was auf dem Cluster läuft, beginnt danach."},
	"restore-failed":  {"Longhorn konnte die Daten der Sicherung %s nicht zurückholen: %s", "Der Eigentümer behebt, was genannt ist, dann: kubectl -n longhorn-system delete systemrestore %s. Das Gerät beginnt von vorn."},

	"role-conflict":  {"Dieses Gerät wurde als %s eingerichtet, in node.yaml steht %s.", "Schreiben Sie die alte Rolle in node.yaml, oder löschen Sie die Daten-Partition, um neu anzufangen."},
	"token-missing":  {"In node.yaml steht kein Token des Clusters, und dieses Gerät gehört noch nicht dazu.", "Schreiben Sie das Token in node.yaml auf der Boot-Partition (k3s: token:)."},
	"waiting-server": {"Es wartet auf einen Server des Clusters: %s.", "Schalten Sie den ersten Server ein; dieses Gerät kommt dann von selbst dazu."},
	"strange-server": {"%s in diesem Tailnet ist nicht sicher ein Server des Clusters (ihm fehlt %s) und bekommt deshalb kein Token.", "Geben Sie dem Server in Headscale das Tag seines Schlüssels, oder benennen Sie das Gerät um, das seinen Namen genommen hat. Das Gerät versucht es weiter."},
	"server-twice":   {"Zwei Server des Tailnets heißen %s.", "Löschen Sie in Headscale den, der nicht gemeint ist, oder benennen Sie ihn um. Das Gerät versucht es weiter."},
	"maybe-cluster":  {"Der Server %s ist bekannt, antwortet aber nicht; vielleicht gibt es dort einen Cluster, deshalb wird keiner gegründet.", "Schalten Sie diesen Server ein. Ist er für immer weg, löschen Sie ihn in Headscale."},
	"k3s-starting":   {"Das Cluster-Programm startet: %s", "Warten Sie; der erste Start dauert einige Minuten."},
	"k3s-token":      {"Der Cluster hat das Token dieses Geräts abgelehnt.", "Machen Sie ein neues Token, schreiben Sie es in node.yaml (k3s:) und schalten Sie das Gerät aus und ein."},
	"k3s-refused":    {"Der Cluster lässt dieses Gerät noch nicht hinein.", "Ein Server, der startet, lehnt alle ab: Warten Sie zehn Minuten. Bleibt es so, schreiben Sie ein neues Token in node.yaml (k3s:) und schalten Sie das Gerät aus und ein."},
	"servers-unlike": {"Der Server %s läuft mit anderen Einstellungen als dieser: %s.", "Geben Sie allen Servern des Clusters dieselben Einstellungen (k3s: config: in node.yaml). Bis dahin arbeitet dieses Gerät."},
	"k3s-password":   {"Der Cluster erinnert sich an ein anderes Gerät dieses Namens.", "Auf einem Server: k3s kubectl delete node %s. Löschen Sie auch in Headscale das alte Gerät dieses Namens, wenn es noch da ist. Das Gerät versucht es weiter."},
	"k3s-config":     {"Das Cluster-Programm nimmt seine Einstellungen nicht an: %s", "Berichtigen Sie k3s: config: in node.yaml."},
	"k3s-failed":     {"Das Cluster-Programm ist stehen geblieben und wird neu gestartet: %s", "Warten Sie einige Minuten. Kommt das wieder, lesen Sie: journalctl -u k3s."},
	"k3s-restarted":  {"Das Cluster-Programm ist stehen geblieben und wurde neu gestartet.", "Warten Sie eine halbe Minute. Kommt das wieder, lesen Sie: journalctl -u k3s."},
	"k3s-silent":     {"Der Cluster antwortet nicht, wie er soll: %s", "Warten Sie einige Minuten. Bleibt es so, schalten Sie dieses Gerät aus und ein, danach die Server."},
	"k3s-slow":       {"Der Cluster antwortet spät, nach %s.", "Warten Sie. Bleibt es so, ist die Platte eines Servers oder das Netz zwischen den Orten zu langsam; eine USB-Platte ist schneller als eine Speicherkarte."},
	"seed-refused":   {"Der Cluster hat %s nicht angenommen: %s", "Warten Sie einige Minuten: Das Gerät versucht es weiter. Bleibt es so, muss der Eigentümer node.yaml berichtigen und unterschreiben."},
	"k3s-unready":    {"Der Cluster nennt dieses Gerät nicht bereit: %s", "Warten Sie einige Minuten. Bleibt es so, schalten Sie das Gerät aus und ein."},
	"unexpected":     {"Etwas Unerwartetes: %s", "Warten Sie; das Gerät versucht es weiter. Bleibt es so, lesen Sie: journalctl -u firstboot."},
}
