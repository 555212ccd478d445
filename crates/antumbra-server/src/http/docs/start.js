// Without `validatorUrl` the page would send the document to a validator on the internet.
SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#page",
  validatorUrl: "none",
  deepLinking: true,
});
