-- A mail that is refused with the rule's reply, and a disconnection in the middle of one.
conn = mt.connect(socket, 40, 0.25)
mt.conninfo(conn, "client.example.net", "192.0.2.1")
mt.mailfrom(conn, "<ann@example.net>")
mt.rcptto(conn, "<ben@example.org>")
mt.header(conn, "Subject", "hello")
mt.bodystring(conn, "You won a prize.\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_REPLYCODE then error("not refused") end
if not mt.eom_check(conn, MT_SMTPREPLY, "554", "5.7.0", "No spam here") then error("another reply") end
mt.disconnect(conn)

conn = mt.connect(socket, 40, 0.25)
mt.conninfo(conn, "client.example.net", "192.0.2.1")
mt.mailfrom(conn, "<ann@example.net>")
mt.bodystring(conn, "half of a mail")
mt.disconnect(conn, false)
mt.echo("all of it")
