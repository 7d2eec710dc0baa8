"""Original paragraphs in four languages, for pages that an English language filter must drop.

Written for this project. §2.1 keeps English by intent, though §3.7 found 10 MB of French that slipped through.
"""

FOREIGN = {
    "fr": [
        "Le matin, la boulangère ouvre sa boutique avant le lever du soleil, et l'odeur du pain chaud remplit peu à "
        "peu la rue encore silencieuse. Les premiers clients arrivent en parlant du temps qu'il fera.",
        "Pour réparer un vieux vélo, il faut d'abord nettoyer la chaîne, vérifier les freins et gonfler les pneus. "
        "Ensuite, on règle la selle à la bonne hauteur, et l'on part faire un tour au bord de la rivière.",
        "Mon grand-père racontait que le village n'avait autrefois qu'un seul puits, et que chacun y venait chercher "
        "de l'eau le soir. On y apprenait les nouvelles bien avant de les lire dans le journal.",
        "La bibliothèque municipale prête désormais des graines de légumes avec ses livres de jardinage. À la fin "
        "de l'été, les lecteurs rapportent de nouvelles graines pour l'année suivante.",
        "Quand la neige tombe sur les montagnes, les troupeaux descendent vers la vallée et les cloches résonnent "
        "longtemps entre les rochers. Les enfants courent à leur rencontre le long du chemin.",
        "Il suffit parfois d'une promenade pour trouver la solution d'un problème difficile. On laisse les idées se "
        "reposer, on regarde les arbres, et tout à coup la réponse paraît évidente.",
        "Le marché du samedi rassemble les producteurs de toute la région. On y vend du fromage, du miel, des pommes "
        "anciennes et des fleurs, mais surtout on y prend le temps de bavarder.",
    ],
    "de": [
        "Jeden Morgen fährt die Straßenbahn an unserem Haus vorbei, und ich erkenne am Klang, ob es in der Nacht "
        "geregnet hat. Im Winter sind die Scheiben beschlagen, und jemand malt immer ein Herz darauf.",
        "Wer einen Apfelbaum pflanzen möchte, gräbt im Herbst ein tiefes Loch und mischt reife Erde unter. Im ersten "
        "Jahr braucht der junge Baum viel Wasser und einen Pfahl gegen den Wind.",
        "Die alte Mühle am Bach wird seit einigen Jahren von einem Verein betrieben. Am ersten Sonntag im Monat dreht "
        "sich das Rad wieder, und die Besucher dürfen frisches Mehl mit nach Hause nehmen.",
        "Als das Licht ausfiel, zündeten wir Kerzen an und spielten Karten, bis meine Schwester alle Nüsse gewonnen "
        "hatte. Seitdem wünschen wir uns manchmal einen Abend ohne Strom.",
        "Das Fahrrad ist in dieser Stadt schneller als jedes Auto, denn die Gassen sind eng und die Brücken nur für "
        "Fußgänger und Räder gebaut. Am Bahnhof stehen Tausende davon in langen Reihen.",
        "In der Werkstatt riecht es nach Holz und Leim. Der Geigenbauer prüft jedes Brett mit dem Ohr, klopft darauf "
        "und lauscht, bevor er es zur Seite legt oder zu schneiden beginnt.",
        "Nach dem langen Regen stiegen die Pilze aus dem Waldboden. Meine Tante kannte sie alle mit Namen und ließ "
        "diejenigen stehen, bei denen sie auch nur den kleinsten Zweifel hatte.",
    ],
    "es": [
        "Por la tarde, cuando baja el calor, los vecinos sacan las sillas a la puerta y conversan hasta que "
        "anochece. Los niños juegan al balón en la plaza y nadie mira el reloj.",
        "Para preparar una buena tortilla hacen falta huevos, patatas, un poco de cebolla y mucha paciencia. El "
        "secreto está en cocinar las patatas despacio, sin que lleguen a dorarse.",
        "El faro lleva más de cien años avisando a los barcos, aunque hoy funciona solo y nadie vive en la torre. La "
        "hija del último farero sube todavía cada verano para limpiar los cristales.",
        "Aprendí a nadar en un río de agua muy fría, agarrado a una cuerda que sujetaba mi abuelo. Él decía que el "
        "miedo se marcha cuando uno empieza a mover los pies.",
        "La estación del pueblo cerró hace tiempo, pero los vecinos la convirtieron en una pequeña biblioteca. Ahora "
        "se leen novelas donde antes se esperaban los trenes.",
        "En el mercado hay una mujer que vende hierbas secas y conoce el nombre de cada una. Si le preguntas por el "
        "dolor de garganta, te ofrece tomillo y una larga historia.",
        "Los sábados limpiamos la casa con la radio encendida. Mi madre canta más alto que los cantantes y mi hermano "
        "baila con la escoba por todo el pasillo.",
    ],
    "it": [
        "La domenica mattina mio zio prepara il caffè per tutta la famiglia e legge il giornale ad alta voce. Ognuno "
        "commenta una notizia diversa, e alla fine nessuno ha ascoltato gli altri.",
        "Il vecchio teatro è rimasto chiuso per trent'anni, finché un gruppo di ragazzi ha cominciato a ripararlo. "
        "Adesso ogni venerdì si recita davanti a un pubblico di amici e di curiosi.",
        "Per fare il pane in casa bastano farina, acqua, sale e un poco di lievito, ma serve soprattutto il tempo. "
        "L'impasto deve riposare tutta la notte sotto un panno pulito.",
        "Quando arriva il vento dal mare, le barche rientrano nel porto e i pescatori riparano le reti seduti al "
        "sole. Le donne del paese portano loro pane, olive e vino.",
        "Mia nonna conservava i bottoni in una scatola di latta, e ogni bottone aveva una storia. Il più bello veniva "
        "dal cappotto di un soldato che non era più tornato.",
        "La strada sale tra i vigneti fino a una piccola chiesa bianca. Da lassù si vede tutta la valle, e nelle "
        "giornate limpide perfino la linea azzurra del mare.",
        "In biblioteca c'è un tavolo vicino alla finestra dove siede sempre lo stesso signore. Studia le stelle da "
        "quando è in pensione e saluta tutti con un cenno del capo.",
    ],
}
