-- OpenDKIM's miltertest as a mail server: mails on one connection, with forged headers.
-- socket comes from the command line: miltertest -D socket=unix:/path -s mails.lua

function must(ok, what)
	if not ok then error(what) end
end

function asked(conn, step)
	return mt.test_option(conn, step)
end

conn = mt.connect(socket, 40, 0.25)
must(conn ~= nil, "no connection")
must(mt.negotiate(conn, nil, nil, nil) == nil, "negotiate")
must(mt.test_action(conn, SMFIF_ADDHDRS), "adding headers is not asked for")
must(mt.test_action(conn, SMFIF_CHGHDRS), "changing headers is not asked for")
must(not mt.test_action(conn, SMFIF_CHGBODY), "bodies are not changed")
must(not mt.test_action(conn, SMFIF_ADDRCPT), "recipients are not added")
must(asked(conn, SMFIP_NOHELO) and asked(conn, SMFIP_NOUNKNOWN) and asked(conn, SMFIP_NODATA), "unneeded steps")
must(not asked(conn, SMFIP_NOHDRS) and not asked(conn, SMFIP_NOBODY), "the mail is needed")

must(mt.conninfo(conn, "client.example.net", "192.0.2.1") == nil, "conninfo")

function mail(id, subject, body)
	mt.macro(conn, SMFIC_MAIL, "i", id)
	must(mt.mailfrom(conn, "<ann@example.net>") == nil, "mailfrom")
	must(mt.getreply(conn) == SMFIR_CONTINUE, "reply to mailfrom")
	must(mt.rcptto(conn, "<ben@example.org>") == nil, "rcptto")
	must(mt.header(conn, "From", "ann@example.net") == nil, "header From")
	must(mt.header(conn, "X-Spam-Flag", "NO") == nil, "forged header")
	must(mt.header(conn, "Subject", subject) == nil, "header Subject")
	must(mt.header(conn, "X-Spam-Flag", "NEVER") == nil, "forged header")
	must(mt.bodystring(conn, body) == nil, "bodystring")
end

mail("ONE", "hello", "You won a prize.\r\n")
must(mt.eom(conn) == nil, "eom")
must(mt.getreply(conn) == SMFIR_ACCEPT, "reply to eom")
must(mt.eom_check(conn, MT_HDRDELETE, "X-Spam-Flag"), "the forged header stays")
must(mt.eom_check(conn, MT_HDRINSERT, "X-Spam-Score", " 15.0", 0), "no header of ours")
must(not mt.eom_check(conn, MT_HDRADD), "a header at the end")
must(not mt.eom_check(conn, MT_BODYCHANGE), "the body is changed")

mail("TWO", "again", "never judged\r\n")
must(mt.abort(conn) == nil, "abort")

mail("THREE", "lunch", "at noon\r\n")
must(mt.bodyrandom(conn, 300000) == nil, "bodyrandom")
must(mt.eom(conn) == nil, "eom")
must(mt.getreply(conn) == SMFIR_ACCEPT, "reply to the second eom")
must(mt.eom_check(conn, MT_HDRINSERT, "X-Spam-Score", " -3.2", 0), "no header of ours in the second mail")
mt.disconnect(conn)
mt.echo("all of it")
