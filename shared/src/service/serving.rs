//! A service's HTTP servers. A server is a lot of code; as one type for all services and addresses it is
//! compiled once.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};

use crate::{
    http::{surround, unknown_path},
    logging,
};

/// Headers of a slow client have to be there by then.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How to answer at an address.
pub(super) struct Serving {
    /// Of the service.
    pub name: &'static str,
    /// Threads.
    pub workers: usize,
    /// A connection without requests is closed after that.
    pub keep_alive: Duration,
    /// How long requests under way may take when the server is told to stop; a second at least.
    pub stop_within: Duration,
}

impl Serving {
    /// Answers what `configure` registers, on each thread anew; everything else is an unknown path.
    pub(super) fn serve(
        self,
        listener: TcpListener,
        configure: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static,
    ) -> io::Result<Server> {
        self.serve_dyn(listener, Arc::new(configure))
    }

    fn serve_dyn(
        self,
        listener: TcpListener,
        configure: Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>,
    ) -> io::Result<Server> {
        let server = HttpServer::new(move || {
            logging::this_thread_serves(self.name);
            App::new()
                .configure(|config| configure(config))
                .default_service(web::to(unknown_path))
                .wrap(from_fn(surround))
        })
        .workers(self.workers)
        .client_request_timeout(HEADERS_WITHIN)
        .keep_alive(self.keep_alive)
        .shutdown_timeout(self.stop_within.as_secs().max(1))
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(server)
    }
}
