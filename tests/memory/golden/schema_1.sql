


SELECT pg_catalog.set_config('search_path', '', false);


CREATE SCHEMA golden;



CREATE FUNCTION golden.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the archive is append-only';
END $$;



CREATE FUNCTION golden.refuse_orphan() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM golden.scenes WHERE id = NEW.scene_id) THEN
        RAISE EXCEPTION 'encounter names a scene that is not stored';
    END IF;
    RETURN NEW;
END $$;





CREATE TABLE golden.archive (
    version integer NOT NULL
);



CREATE TABLE golden.encounters (
    id character varying NOT NULL COLLATE pg_catalog."C",
    scene_id character varying NOT NULL COLLATE pg_catalog."C",
    kind character varying NOT NULL COLLATE pg_catalog."C",
    at character varying NOT NULL COLLATE pg_catalog."C",
    namespace character varying NOT NULL COLLATE pg_catalog."C",
    run character varying NOT NULL COLLATE pg_catalog."C",
    "user" character varying COLLATE pg_catalog."C",
    chat character varying COLLATE pg_catalog."C",
    turn integer,
    analysis character varying COLLATE pg_catalog."C",
    data character varying NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    CONSTRAINT encounters_digest_check CHECK ((length(digest) = 16)),
    CONSTRAINT encounters_id_check CHECK (((id)::text <> ''::text)),
    CONSTRAINT encounters_kind_check CHECK (((kind)::text = ANY ((ARRAY['met'::character varying, 'spoken'::character varying, 'linked'::character varying, 'forgotten'::character varying])::text[])))
);



CREATE TABLE golden.scenes (
    seq bigint NOT NULL,
    id character varying NOT NULL COLLATE pg_catalog."C",
    analysis character varying NOT NULL COLLATE pg_catalog."C",
    namespace character varying NOT NULL COLLATE pg_catalog."C",
    key character varying NOT NULL COLLATE pg_catalog."C",
    linkage character varying NOT NULL COLLATE pg_catalog."C",
    chain character varying NOT NULL COLLATE pg_catalog."C",
    code character varying COLLATE pg_catalog."C",
    created character varying NOT NULL COLLATE pg_catalog."C",
    encoder character varying COLLATE pg_catalog."C",
    vector bytea,
    digest bytea NOT NULL,
    text character varying NOT NULL COLLATE pg_catalog."C",
    json character varying NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT scenes_check CHECK (((vector IS NULL) = (encoder IS NULL))),
    CONSTRAINT scenes_digest_check CHECK ((length(digest) = 16)),
    CONSTRAINT scenes_id_check CHECK (((id)::text <> ''::text)),
    CONSTRAINT scenes_key_check CHECK (((key)::text <> ''::text))
);



CREATE TABLE golden.symbols (
    namespace character varying NOT NULL COLLATE pg_catalog."C",
    lemma character varying NOT NULL COLLATE pg_catalog."C",
    key character varying NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL
);



INSERT INTO golden.archive VALUES (1);



INSERT INTO golden.encounters VALUES ('0', 'ef411369-631e-5fa1-95a4-dc8746cf8fc7', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'a', NULL, NULL, '{}', '\xedefd31273035af6a023edc1e1480968');
INSERT INTO golden.encounters VALUES ('1', '33afc22f-4b54-5b1a-aa38-51945a650c86', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\xd2b81b0b82a360504c3ea01cc483ac46');
INSERT INTO golden.encounters VALUES ('2', '7b3dfa31-0baa-5d50-8f75-a27ac68361de', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'a', NULL, NULL, '{}', '\xe61acce7c38247d009a5c1de8aec6ecd');
INSERT INTO golden.encounters VALUES ('3', '4d7f84c7-fb42-5587-a172-d35716b24e55', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\xd55e9e5f57053b2413f7a69e789c3f04');
INSERT INTO golden.encounters VALUES ('4', '7c29994c-a20d-54a9-b569-ead3ba39e649', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'a', NULL, NULL, '{}', '\xa144b6ab8361aa6552b1ea02221241e1');
INSERT INTO golden.encounters VALUES ('5', '5dc51c9d-7b05-5b38-a3c5-3fa668aa9355', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\x30b6c6face372782a65901dcdc4e02f6');
INSERT INTO golden.encounters VALUES ('6', '5dc51c9d-7b05-5b38-a3c5-3fa668aa9355', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\x5a314eeff4b34f6063d67c7d0cb2b067');
INSERT INTO golden.encounters VALUES ('7', 'c7dc1b39-0d32-5efd-abf5-0fe47bd847b4', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\xd6d2b67d340d9fc61a01cd6e29c21c35');
INSERT INTO golden.encounters VALUES ('8', '56168846-2f9a-5eba-8c2d-9cda3bc227fe', 'met', '2026-05-01T12:00:00.123456+00:00', 'чужой', '', NULL, 'b', NULL, NULL, '{}', '\x1195db0f59969a00143bf65d7c9a57c6');
INSERT INTO golden.encounters VALUES ('again', '7b3dfa31-0baa-5d50-8f75-a27ac68361de', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, 'a', NULL, NULL, '{}', '\xbf7241f7c77572d63b46f86f16e65ff5');
INSERT INTO golden.encounters VALUES ('said', 'ef411369-631e-5fa1-95a4-dc8746cf8fc7', 'spoken', '2026-05-01T12:01:00.123456+00:00', 'default', '', NULL, 'b', NULL, NULL, '{}', '\x77bccfbdd9cdac8206b7142549e9fee6');
INSERT INTO golden.encounters VALUES ('op 0', 'd41c490b-7dec-5c99-9572-c2aeeccda28c', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "Почему я не чувствую шаг в себе?"}', '\x5031b09288157a122ec1e288c117cf4f');
INSERT INTO golden.encounters VALUES ('op 1', '4f44cddb-3208-5c43-a813-9b9417d8f295', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "Why can I not feel the step in me?"}', '\x78e47e486c9027ac88631c535bfa259e');
INSERT INTO golden.encounters VALUES ('op 2', '49e5ab45-ec92-5244-b78b-fb631b11cc21', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "nul \u0000 inside"}', '\x75a786dcc4b03ad3295e031fd49312b1');
INSERT INTO golden.encounters VALUES ('op 3', 'c0c49534-53be-5033-9e44-7440abe6833f', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "emoji 🙂👩‍👩‍👧‍👦 and 􏿽"}', '\xdfbc00c848cd20c743fa5fa52cf6bc8d');
INSERT INTO golden.encounters VALUES ('op 4', '97ed0431-9e84-5c4d-a6cb-ad1a57953149', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "й й ё é ­​"}', '\xdd9473ce2b5ad46dae9d6e8da7bad2ca');
INSERT INTO golden.encounters VALUES ('op 5', '09970d92-ad03-5ca7-b9bc-902f3255956a', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "\r\nтри\rстроки\n\t"}', '\xb7fb37ff09ad6777265cabcbd2eaf6dc');
INSERT INTO golden.encounters VALUES ('op 6', '8028f386-3677-51d1-b44f-d09aa07feed9', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "''; DROP TABLE scenes; --"}', '\x191726569c8fc7e6625cdb69d9143803');
INSERT INTO golden.encounters VALUES ('op 7', '0d7fba36-485f-5e79-807f-f1e20686a50d', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "﻿‮right to left"}', '\xba043568e0a64ab54f213677361bb206');
INSERT INTO golden.encounters VALUES ('op 8', '9dcbc153-a584-5a58-8b91-c4feaf58f564', 'met', '2026-05-01T12:00:00.123456+00:00', 'default', '', NULL, NULL, NULL, NULL, '{"text": "Дрожь у входа"}', '\xb84cdd8085578625bda9c989a1a8c04f');



INSERT INTO golden.scenes VALUES (1, 'ef411369-631e-5fa1-95a4-dc8746cf8fc7', '330e8e499c6937f2', 'default', 'c0202f074727eaf8630f1a2329672b3b', 'страшнодом', '["страшно", "дом"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x640500', '\x70101a12ee236b28e2252a1e064ec7fd', 'Мне страшно дома.', '{"scene_version":1,"id":"ef411369-631e-5fa1-95a4-dc8746cf8fc7","key":"c0202f074727eaf8630f1a2329672b3b","text":"Мне страшно дома.","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"страшно","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["страшно","дом"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"ZAUA","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (2, '33afc22f-4b54-5b1a-aa38-51945a650c86', '330e8e499c6937f2', 'default', 'b0d4a658e83fd9550af31393e474695f', 'нестрашнодом', '["не:страшно", "дом"]', NULL, '2026-05-01T12:05:00.123456+00:00', 'suite-encoder@1', '\x640014', '\xba182d310c43e267cc069dcdeaf3824a', 'Мне не страшно дома.', '{"scene_version":1,"id":"33afc22f-4b54-5b1a-aa38-51945a650c86","key":"b0d4a658e83fd9550af31393e474695f","text":"Мне не страшно дома.","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:05:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"страшно","language":"ru","polarity":-1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["не:страшно","дом"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"ZAAU","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (3, '7b3dfa31-0baa-5d50-8f75-a27ac68361de', '330e8e499c6937f2', 'default', '44dbd54430968815abe4e14edee73790', 'тишинадом', '["тишина", "дом"]', NULL, '2026-05-01T12:02:00.123456+00:00', 'suite-encoder@1', '\x3c5000', '\x11fc9cac1c22628f09766d5bd8adf5c2', 'Дом и тишина', '{"scene_version":1,"id":"7b3dfa31-0baa-5d50-8f75-a27ac68361de","key":"44dbd54430968815abe4e14edee73790","text":"Дом и тишина","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:02:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"тишина","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["тишина","дом"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"PFAA","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (4, '4d7f84c7-fb42-5587-a172-d35716b24e55', '330e8e499c6937f2', 'default', '1b3ae429970ebc8d78ae4551b7c55f0b', 'тишинадом', '["тишина", "дом"]', NULL, '2026-05-01T12:03:00.123456+00:00', 'suite-encoder@1', '\x503c00', '\x802634e80778bfe9c218ccbe773c27d3', 'Тишина, дом', '{"scene_version":1,"id":"4d7f84c7-fb42-5587-a172-d35716b24e55","key":"1b3ae429970ebc8d78ae4551b7c55f0b","text":"Тишина, дом","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:03:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"тишина","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["тишина","дом"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"UDwA","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (5, '7c29994c-a20d-54a9-b569-ead3ba39e649', '330e8e499c6937f2', 'default', '8dc8940c6054ccfca763d9153d82579a', 'silencehome', '["silence", "home"]', NULL, '2026-05-01T12:04:00.123456+00:00', 'suite-encoder@1', '\x3b5000', '\xe5dcc3bff38b363d81d238ee49dd2d8f', 'Silence at home', '{"scene_version":1,"id":"7c29994c-a20d-54a9-b569-ead3ba39e649","key":"8dc8940c6054ccfca763d9153d82579a","text":"Silence at home","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:04:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"silence","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"home","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["silence","home"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"O1AA","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (6, '5dc51c9d-7b05-5b38-a3c5-3fa668aa9355', '330e8e499c6937f2', 'default', '2b820475d06ab224bb09223dafb5fd75', 'порог', '["порог"]', NULL, '2026-05-01T12:01:00.123456+00:00', NULL, NULL, '\x65a3474f825df71998f6e3f6c7070c4d', 'Порог', '{"scene_version":1,"id":"5dc51c9d-7b05-5b38-a3c5-3fa668aa9355","key":"2b820475d06ab224bb09223dafb5fd75","text":"Порог","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:01:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"порог","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["порог"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":null},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (7, '5dc51c9d-7b05-5b38-a3c5-3fa668aa9355', '11ba7b3a3c9317b7', 'default', '2b820475d06ab224bb09223dafb5fd75', 'порог', '["порог"]', NULL, '2026-05-01T12:01:00.123456+00:00', NULL, NULL, '\x7785a5312c5e5403300614e3f0bdb540', 'Порог', '{"scene_version":1,"id":"5dc51c9d-7b05-5b38-a3c5-3fa668aa9355","key":"2b820475d06ab224bb09223dafb5fd75","text":"Порог","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:01:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"порог","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["порог"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":null},"delta":null,"analysis":{"analysers":["suite@2"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (8, 'c7dc1b39-0d32-5efd-abf5-0fe47bd847b4', '330e8e499c6937f2', 'default', 'bf578a6551fc1298c448f9a02c0a138e', '', '[]', NULL, '2026-05-01T12:06:00.123456+00:00', 'suite-encoder@1', '\x64000000', '\x5d0c40a9c661ad4485c6aa514535d57e', 'Шаг', '{"scene_version":1,"id":"c7dc1b39-0d32-5efd-abf5-0fe47bd847b4","key":"bf578a6551fc1298c448f9a02c0a138e","text":"Шаг","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:06:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"шаг","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":[],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"ZAAAAA==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (9, '56168846-2f9a-5eba-8c2d-9cda3bc227fe', '330e8e499c6937f2', 'чужой', '5ff650edbb7c080eabe1706dba8b0718', 'страшнодом', '["страшно", "дом"]', NULL, '2026-05-01T12:07:00.123456+00:00', 'suite-encoder@1', '\x640500', '\xf9be237cd8d80445e5c1173208396b41', 'Мне страшно дома.', '{"scene_version":1,"id":"56168846-2f9a-5eba-8c2d-9cda3bc227fe","key":"5ff650edbb7c080eabe1706dba8b0718","text":"Мне страшно дома.","origin":{"namespace":"чужой","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:07:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"страшно","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"дом","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["страшно","дом"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"ZAUA","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (10, 'd41c490b-7dec-5c99-9572-c2aeeccda28c', '330e8e499c6937f2', 'default', 'db39fb299c47c58e16cd5cc2c027d0cc', 'Почему я не чувствую шаг в себе?неПочему я не чувствую шаг в себе?', '["Почему я не чувствую шаг в себе?", "не:Почему я не чувствую шаг в себе?"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\x78ee7c9ec111e4f8f4e68f0e7cf7afec', 'Почему я не чувствую шаг в себе?', '{"scene_version":1,"id":"d41c490b-7dec-5c99-9572-c2aeeccda28c","key":"db39fb299c47c58e16cd5cc2c027d0cc","text":"Почему я не чувствую шаг в себе?","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"Почему я не чувствую шаг в себе?","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["Почему я не чувствую шаг в себе?","не:Почему я не чувствую шаг в себе?"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (11, '4f44cddb-3208-5c43-a813-9b9417d8f295', '330e8e499c6937f2', 'default', 'bf7ac3c0feba8ced5ba70011593e4b4e', 'Why can I not feel the step in me?неWhy can I not feel the step in me?', '["Why can I not feel the step in me?", "не:Why can I not feel the step in me?"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xa4a8e088d8f5d869da85562135bbd856', 'Why can I not feel the step in me?', '{"scene_version":1,"id":"4f44cddb-3208-5c43-a813-9b9417d8f295","key":"bf7ac3c0feba8ced5ba70011593e4b4e","text":"Why can I not feel the step in me?","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"Why can I not feel the step in me?","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["Why can I not feel the step in me?","не:Why can I not feel the step in me?"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (12, '49e5ab45-ec92-5244-b78b-fb631b11cc21', '330e8e499c6937f2', 'default', '2785e56938d1167d2c9092216a4d0da3', 'nul 0 insideнеnul 0 inside', '["nul \u0000 inside", "не:nul \u0000 inside"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xb88afe61b577ec379452420b75e38448', 'nul 0 inside', '{"scene_version":1,"id":"49e5ab45-ec92-5244-b78b-fb631b11cc21","key":"2785e56938d1167d2c9092216a4d0da3","text":"nul \u0000 inside","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"nul \u0000 inside","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["nul \u0000 inside","не:nul \u0000 inside"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (13, 'c0c49534-53be-5033-9e44-7440abe6833f', '330e8e499c6937f2', 'default', 'edbd6c75667bd3d9975f77a90f7e78ca', 'emoji 🙂👩‍👩‍👧‍👦 and 􏿽неemoji 🙂👩‍👩‍👧‍👦 and 􏿽', '["emoji 🙂👩‍👩‍👧‍👦 and 􏿽", "не:emoji 🙂👩‍👩‍👧‍👦 and 􏿽"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xb13ff82d4bea975bad5cbf9067c9f623', 'emoji 🙂👩‍👩‍👧‍👦 and 􏿽', '{"scene_version":1,"id":"c0c49534-53be-5033-9e44-7440abe6833f","key":"edbd6c75667bd3d9975f77a90f7e78ca","text":"emoji 🙂👩‍👩‍👧‍👦 and 􏿽","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"emoji 🙂👩‍👩‍👧‍👦 and 􏿽","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["emoji 🙂👩‍👩‍👧‍👦 and 􏿽","не:emoji 🙂👩‍👩‍👧‍👦 and 􏿽"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (14, '97ed0431-9e84-5c4d-a6cb-ad1a57953149', '330e8e499c6937f2', 'default', '1b572a9df1dc7700d835f0b74f6392fa', 'й й ё é ­​ней й ё é ­​', '["й й ё é ­​", "не:й й ё é ­​"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\x43c9dfc6a2edf7b57be00e8dd9c6e6d0', 'й й ё é ­​', '{"scene_version":1,"id":"97ed0431-9e84-5c4d-a6cb-ad1a57953149","key":"1b572a9df1dc7700d835f0b74f6392fa","text":"й й ё é ­​","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"й й ё é ­​","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["й й ё é ­​","не:й й ё é ­​"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (15, '09970d92-ad03-5ca7-b9bc-902f3255956a', '330e8e499c6937f2', 'default', '5cd4a6b9ccf617cf341cb9e0892021cf', '
тристроки
	не
тристроки
	', '["\r\nтри\rстроки\n\t", "не:\r\nтри\rстроки\n\t"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xd60f6c3ae42a35497276f26b204a3d49', '
тристроки
	', '{"scene_version":1,"id":"09970d92-ad03-5ca7-b9bc-902f3255956a","key":"5cd4a6b9ccf617cf341cb9e0892021cf","text":"\r\nтри\rстроки\n\t","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"\r\nтри\rстроки\n\t","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["\r\nтри\rстроки\n\t","не:\r\nтри\rстроки\n\t"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (16, '8028f386-3677-51d1-b44f-d09aa07feed9', '330e8e499c6937f2', 'default', 'bb5b59a27ff9642f186f04d2eb6f6895', '''; DROP TABLE scenes; --не''; DROP TABLE scenes; --', '["''; DROP TABLE scenes; --", "не:''; DROP TABLE scenes; --"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xdadcf16284171c8491a125d3e916f5b2', '''; DROP TABLE scenes; --', '{"scene_version":1,"id":"8028f386-3677-51d1-b44f-d09aa07feed9","key":"bb5b59a27ff9642f186f04d2eb6f6895","text":"''; DROP TABLE scenes; --","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"''; DROP TABLE scenes; --","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["''; DROP TABLE scenes; --","не:''; DROP TABLE scenes; --"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (17, '0d7fba36-485f-5e79-807f-f1e20686a50d', '330e8e499c6937f2', 'default', 'ae860443ecedc12042a735ccf70d2a7b', '﻿‮right to leftне﻿‮right to left', '["﻿‮right to left", "не:﻿‮right to left"]', NULL, '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x007f80ff', '\xe438aed5afae440f2fe111fbb60ddfa5', '﻿‮right to left', '{"scene_version":1,"id":"0d7fba36-485f-5e79-807f-f1e20686a50d","key":"ae860443ecedc12042a735ccf70d2a7b","text":"﻿‮right to left","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"﻿‮right to left","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["﻿‮right to left","не:﻿‮right to left"],"text":[]},"rhythm":null,"emotion":null,"tension":null,"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"AH-A_w==","encoder":"suite-encoder@1"}},"delta":null,"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');
INSERT INTO golden.scenes VALUES (18, '9dcbc153-a584-5a58-8b91-c4feaf58f564', '330e8e499c6937f2', 'default', '0a1551cce5c17dd66eac1e9f77aec1ff', 'дрожьвход', '["дрожь", "вход"]', 'Δ41@c1', '2026-05-01T12:00:00.123456+00:00', 'suite-encoder@1', '\x5a0a00', '\xb13b054730b73f3aba6c9fdcd72e9a8a', 'Дрожь у входа', '{"scene_version":1,"id":"9dcbc153-a584-5a58-8b91-c4feaf58f564","key":"0a1551cce5c17dd66eac1e9f77aec1ff","text":"Дрожь у входа","origin":{"namespace":"default","run":"","row":0,"user":null,"chat":null,"turn":null},"created":"2026-05-01T12:00:00.123456Z","language":null,"pieces":null,"symbols":[{"lemma":"дрожь","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]},{"lemma":"вход","language":"ru","polarity":1,"part":"other","concept":null,"origin":"text","score":0.0,"evidence":[]}],"hypertokens":null,"hyperscene":null,"linkage":{"chain":["дрожь","вход"],"text":[]},"rhythm":null,"emotion":{"valence":{"value":-0.5,"confidence":0.8,"evidence":[]},"arousal":{"value":0.25,"confidence":0.5,"evidence":[]},"dominance":{"value":null,"confidence":0.0,"evidence":[]}},"tension":{"level":{"value":0.75,"confidence":0.6,"evidence":[]},"causes":[]},"field":{"axes":"suite@1","weights":{},"evidence":{},"vector":{"data":"WgoA","encoder":"suite-encoder@1"}},"delta":{"code":41,"codebook":"c1","margin":0.25,"alternative":7,"gloss":{}},"analysis":{"analysers":["suite@1"],"encoder":"suite-encoder@1","codebook":null},"registers":{"weights":{"poet":0.5},"reasons":{}},"echoes":null,"resonance":null,"reply":null,"outputs":null}');



INSERT INTO golden.symbols VALUES ('default', 'страшно', 'страшно', 1);
INSERT INTO golden.symbols VALUES ('default', 'дом', 'дом', 1);
INSERT INTO golden.symbols VALUES ('default', 'страшно', 'не:страшно', 2);
INSERT INTO golden.symbols VALUES ('default', 'дом', 'дом', 2);
INSERT INTO golden.symbols VALUES ('default', 'тишина', 'тишина', 3);
INSERT INTO golden.symbols VALUES ('default', 'дом', 'дом', 3);
INSERT INTO golden.symbols VALUES ('default', 'тишина', 'тишина', 4);
INSERT INTO golden.symbols VALUES ('default', 'дом', 'дом', 4);
INSERT INTO golden.symbols VALUES ('default', 'silence', 'silence', 5);
INSERT INTO golden.symbols VALUES ('default', 'home', 'home', 5);
INSERT INTO golden.symbols VALUES ('default', 'порог', 'порог', 6);
INSERT INTO golden.symbols VALUES ('default', 'порог', 'порог', 7);
INSERT INTO golden.symbols VALUES ('default', 'дом', 'дом', 7);
INSERT INTO golden.symbols VALUES ('default', 'шаг', 'шаг', 8);
INSERT INTO golden.symbols VALUES ('чужой', 'страшно', 'страшно', 9);
INSERT INTO golden.symbols VALUES ('чужой', 'дом', 'дом', 9);
INSERT INTO golden.symbols VALUES ('default', 'Почему я не чувствую шаг в себе?', 'Почему я не чувствую шаг в себе?', 10);
INSERT INTO golden.symbols VALUES ('default', 'Почему я не чувствую шаг в себе?', 'не:Почему я не чувствую шаг в себе?', 10);
INSERT INTO golden.symbols VALUES ('default', 'Why can I not feel the step in me?', 'Why can I not feel the step in me?', 11);
INSERT INTO golden.symbols VALUES ('default', 'Why can I not feel the step in me?', 'не:Why can I not feel the step in me?', 11);
INSERT INTO golden.symbols VALUES ('default', 'nul 0 inside', 'nul 0 inside', 12);
INSERT INTO golden.symbols VALUES ('default', 'nul 0 inside', 'не:nul 0 inside', 12);
INSERT INTO golden.symbols VALUES ('default', 'emoji 🙂👩‍👩‍👧‍👦 and 􏿽', 'emoji 🙂👩‍👩‍👧‍👦 and 􏿽', 13);
INSERT INTO golden.symbols VALUES ('default', 'emoji 🙂👩‍👩‍👧‍👦 and 􏿽', 'не:emoji 🙂👩‍👩‍👧‍👦 and 􏿽', 13);
INSERT INTO golden.symbols VALUES ('default', 'й й ё é ­​', 'й й ё é ­​', 14);
INSERT INTO golden.symbols VALUES ('default', 'й й ё é ­​', 'не:й й ё é ­​', 14);
INSERT INTO golden.symbols VALUES ('default', '
тристроки
	', '
тристроки
	', 15);
INSERT INTO golden.symbols VALUES ('default', '
тристроки
	', 'не:
тристроки
	', 15);
INSERT INTO golden.symbols VALUES ('default', '''; DROP TABLE scenes; --', '''; DROP TABLE scenes; --', 16);
INSERT INTO golden.symbols VALUES ('default', '''; DROP TABLE scenes; --', 'не:''; DROP TABLE scenes; --', 16);
INSERT INTO golden.symbols VALUES ('default', '﻿‮right to left', '﻿‮right to left', 17);
INSERT INTO golden.symbols VALUES ('default', '﻿‮right to left', 'не:﻿‮right to left', 17);
INSERT INTO golden.symbols VALUES ('default', 'дрожь', 'дрожь', 18);
INSERT INTO golden.symbols VALUES ('default', 'вход', 'вход', 18);



ALTER TABLE ONLY golden.encounters
    ADD CONSTRAINT encounters_pkey PRIMARY KEY (id);



ALTER TABLE ONLY golden.scenes
    ADD CONSTRAINT scenes_id_analysis_key UNIQUE (id, analysis);



ALTER TABLE ONLY golden.scenes
    ADD CONSTRAINT scenes_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY golden.symbols
    ADD CONSTRAINT symbols_pkey PRIMARY KEY (namespace, lemma, key, seq);



CREATE INDEX encounters_chat ON golden.encounters USING btree (namespace, chat, scene_id);



CREATE INDEX encounters_scene ON golden.encounters USING btree (scene_id, at, id);



CREATE INDEX scenes_chain_md5 ON golden.scenes USING btree (namespace, md5((chain)::text));



CREATE INDEX scenes_encoder ON golden.scenes USING btree (namespace, encoder, seq);



CREATE INDEX scenes_key ON golden.scenes USING btree (namespace, key);



CREATE TRIGGER encounter_names_scene BEFORE INSERT ON golden.encounters FOR EACH ROW EXECUTE FUNCTION golden.refuse_orphan();



CREATE TRIGGER encounters_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON golden.encounters FOR EACH STATEMENT EXECUTE FUNCTION golden.refuse_change();



CREATE TRIGGER scenes_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON golden.scenes FOR EACH STATEMENT EXECUTE FUNCTION golden.refuse_change();



ALTER TABLE ONLY golden.symbols
    ADD CONSTRAINT symbols_seq_fkey FOREIGN KEY (seq) REFERENCES golden.scenes(seq);




