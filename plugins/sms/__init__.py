"""SMS gateways: webhooks in the shapes of Twilio and Kannel (docs/plugins/sms.md)."""
